"""What an author wrote: read in any of the shapes in circulation, with what is wrong in it. Nothing is derived here.

models.py        the parts of a graph as users write them, and pydantic's complaints in one line
source.py        reads a graph in any of the shapes in circulation
json_text.py     is it JSON that Postgres can keep?
forms.py         configs as the forms of an editor fill them in
nearest.py       which name was probably meant
limits.py        queue, priority, concurrency and rate of a workflow
schedule.py      when a workflow runs by itself
resources.py     what a node asks of the cluster
"""
