"""Joins store and actors: what runs next, and who says so.

app.py           the composition root: run_worker()
cli/             the command line
demo/            a few hundred executions and a killed runner, proved
dev.py           everything on one machine; single.py: in one container
ray_bootstrap.py starts or joins Ray
health/          how a driver is, told to whoever asks
driver/          the thread that decides and those around it
execution/       one execution: which nodes run now; pure
client.py        what programs import as dray.Client: the store's, and a check of graphs before they are stored
graph/           from what an author wrote to what executions run; pure
history/         whether what is recorded can be true; pure, and knows nothing of the rest
schedules.py     which slots a schedule has, and what becomes of those that are due; pure
settings.py      every setting, from the environment, checked before anything starts
machine.py       the memory and CPUs that this process may have
logs.py          one line per transition: for people on a terminal, JSON elsewhere, never a password
spans.py         spans of time as people write them; pure
failpoints.py    named places where a test makes this process die, fail or stop
errors.py        what may go wrong between store and actors; the tree is drawn on top

A folder imports only what stands below it here. Importing this package imports nothing.
"""

if __name__ != "dray.cluster":  # by its own name it would be a second copy of every class in it
    raise ImportError(f"import dray.cluster, not {__name__}")
