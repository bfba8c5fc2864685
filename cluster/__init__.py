"""Joins store and actors: what runs next, and who says so.

errors.py        what may go wrong between the two; the tree is drawn on top
settings.py      every setting, from the environment, checked before anything starts
logs.py          one line per transition: for people on a terminal, JSON elsewhere, never a password
failpoints.py    named places where a test makes this process die, fail or stop
graph.py         a workflow's graph: four formats in, one canonical form, one Graph in memory (graph_*.py: its parts)

Importing this package imports nothing.
"""
