"""The command line. Whatever is slow to import is imported where it is used.

main.py          the command `dray`: what starts, what looks after
base.py          exit codes, errors in one line, the database, output
workflow.py      dray workflow: check, store, show
executions.py    dray submit, status, executions
control.py       pause, resume, retry, rerun, bulk, prune
signals.py       signals, and the answers of people
queues.py        dray queues
schedules.py     dray schedule
health.py        dray health, dray runners
history.py       dray check-history
"""
