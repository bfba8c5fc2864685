"""Runs nodes, inside a runner process: threads, an event loop, deadlines.

runner.py        Runner: takes tasks, hands out results
call.py          one call of a handler
answer.py        from what it answered, or raised, to the NodeResult
form.py          the form of a value in which the database gives it back
threads.py       the threads for plain handlers
loop.py          the event loop for async ones
tally.py         what was done, counted
log.py           the log of a runner process
"""
