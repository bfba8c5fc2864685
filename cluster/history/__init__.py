"""Whether what is recorded can be true: judges a database by the promises of docs/architecture.md. Pure, and knows
nothing of the code that made it, neither plan nor graph nor statements, so that it shares no mistake with them.

judge.py         Judge: takes batches of rows, gives violations and how much there was to judge
facts.py         the rows, by name
single.py        one execution: statuses, ends, attempts, at_most_once, signals, children
order.py         successors after the commit of their predecessors; nothing left out of what completed
shape.py         what a stored graph says: which node comes after which, in which turn of which loop
waiting.py       what has not ended: does it wait rightly?
limits.py        how many ran at once, how many started in a time
effects.py       a log of effects outside, beside what is recorded

Nothing in here imports anything of Dray.
"""
