"""Joins store and actors: what runs next, and who says so.

errors.py        what may go wrong between the two; the tree is drawn on top
settings.py      every setting, from the environment, checked before anything starts
logs.py          one line per transition: for people on a terminal, JSON elsewhere, never a password
failpoints.py    named places where a test makes this process die, fail or stop
graph.py         a workflow's graph: four formats in, one canonical form, one Graph in memory (graph_*.py: its parts)
workflows.py     workflow files: read, checked, made canonical
plan.py          which nodes may run now, a fold of outcomes; pure
commands.py      the events and commands of one execution
execution.py     one claimed execution: handle(event) -> commands; pure
driver.py        the thread that decides, its inbox, and the order of a turn
claimer.py       takes executions while there is room
committer.py     the group commit
lease_keeper.py  keeps the lease of this incarnation
housekeeper.py   timers, controls, reaping
scheduler.py     starts what schedules ask for; schedules.py: which slots there are and what becomes of them, pure
clerk.py         enters runners into the database
patience.py      waits out a database that does not answer
ray_bootstrap.py starts or joins Ray
app.py           the composition root: run_worker()
cli.py           the command line (cli_*.py: its parts); dev.py, demo/: everything on one machine
packages.py      are `cluster`, `actors` and `store` ours?

Importing this package imports nothing.
"""
