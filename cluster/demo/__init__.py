"""`dray demo`: an order desk, with one of its runners killed in the middle of the work.

workflow.json   the graph that every order goes through
orders.json     300 orders of a shop that sells coffee and tea
service.py      the world outside: an HTTP service that counts what it is asked and what it does
work.py         a database, a driver in a process of its own, and the kill
proof.py        what must be true afterwards, asked of the database and of the service
show.py         progress while it runs, and the summary
"""
