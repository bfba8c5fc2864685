"""Postgres: everything durable. Knows nothing of Ray.

errors.py        what may go wrong with the database; the tree is drawn on top
url.py           every form of a connection string, turned into one; what of it may be shown
connection.py    engines, transactions, psycopg2's errors as ours, waiting until the database answers
embedded.py      a Postgres of our own under a data folder, for demo, dev and tests
records.py       what the store gives and takes; which statement may make which transition of a status
queries.py       the statements of sql/, by name
driver_store.py  every statement that a driver makes, one transaction each (schedule_store.py: those for schedules)
arrays.py        whole columns as array literals, for statements that take thousands of rows
client_base.py   what every part of the client stands on
client.py        submit executions and look at them, from any program; client_schedules.py: run them by schedules
listener.py      LISTEN, as a hint that there is work
migrate.py       brings the tables to what this program needs
tables.py        the schema at a glance; a test compares
sql/             the statements, each with the transition it makes above it
migrations/      the schema, step by step

Importing this package imports nothing.
"""
