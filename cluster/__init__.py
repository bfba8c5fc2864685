"""Joins store and actors: what runs next, and who says so.

errors.py        what may go wrong between the two; the tree is drawn on top
settings.py      every setting, from the environment, checked before anything starts
logs.py          one line per transition: for people on a terminal, JSON elsewhere, never a password
failpoints.py    named places where a test makes this process die, fail or stop
graph.py         a workflow's graph: canonical() for storing, load() for running
graph_check.py   what is wrong with a graph, and what is derived from it (graph_*.py: regions, tries, forks, needs)
graph_types.py   the graph in memory: regions, each without a cycle; graph_load.py makes it from the stored form
workflows.py     workflow files: read, checked, made canonical; workflow_diff.py: what two versions differ in
plan.py          which nodes of one scope may run now, a fold of outcomes; pure
scopes.py        the scopes of one execution, turn by turn, and the ends of loops (scope.py: their state); pure
values.py        what a node is given; pure
newsroom.py      which nodes wait for signals and children, and what came; pure
attempts.py      how often a node is tried; pure
commands.py      the events and commands of one execution
execution.py     one claimed execution: handle(event) -> commands; pure
driver.py        the thread that decides, its inbox, and the order of a turn
claimer.py       takes executions while there is room
large.py         which large outcomes it needs to go on with one
committer.py     the group commit
lease_keeper.py  keeps the lease of this incarnation
housekeeper.py   timers, controls, reaping, deleting what ended long ago
timers.py        when which execution wants to be called again
news.py          what came for executions, sorted by execution
scheduler.py     starts what schedules ask for; schedules.py: which slots there are and what becomes of them, pure
spans.py         spans of time as people write them; pure
clerk.py         enters runners into the database
patience.py      waits out a database that does not answer
ray_bootstrap.py starts or joins Ray
app.py           the composition root: run_worker()
cli.py           the command line (cli_*.py: its parts); dev.py, demo/: everything on one machine
packages.py      are `cluster`, `actors` and `store` ours?

Importing this package imports nothing.
"""
