"""Postgres: everything durable. Knows nothing of Ray.

client/          what a program does with executions
driver_store.py  every statement that a driver makes, one transaction each (schedule_store.py: those for schedules)
history.py       reads what is recorded, for whoever judges it
listener.py      LISTEN, as a hint that there is work
migrate.py       brings the tables to what this program needs
embedded.py      a Postgres of our own under a data folder, for demo, dev and tests
records.py       what the store gives and takes; which statement may make which transition of a status
queries.py       the statements of sql/, by name
arrays.py        whole columns as array literals, for statements that take thousands of rows
connection.py    engines, transactions, psycopg2's errors as ours, waiting until the database answers
url.py           every form of a connection string, turned into one; what of it may be shown
errors.py        what may go wrong with the database; the tree is drawn on top
tables.py        the schema at a glance; a test compares
sql/             the statements, each with the transition it makes above it
migrations/      the schema, step by step

Importing this package imports nothing.
"""

if __name__ != "dray.store":  # by its own name it would be a second copy of every class in it
    raise ImportError(f"import dray.store, not {__name__}")
