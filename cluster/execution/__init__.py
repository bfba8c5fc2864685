"""One execution: which of its nodes run now, and what becomes of it. Pure: no clock, no I/O, and knows no driver.

run.py           ExecutionRun: handle(event) -> commands
standing.py      how it stands: what is stored of it, taken in
ledger.py        what is recorded and not committed, and what is held until it is
commands.py      the events and the commands
plan.py          which nodes of one scope may run now: a fold of outcomes
scope.py         one run of a region, and one run of a loop
scopes.py        moves them on, turn by turn
turns.py         what a turn leaves behind
attempts.py      how often a node is tried
newsroom.py      which nodes wait for signals and children, and what came
values.py        what a node is given
"""
