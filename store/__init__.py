"""Postgres: everything durable. Knows nothing of Ray.

errors.py        what may go wrong with the database; the tree is drawn on top
url.py           every form of a connection string, turned into one; what of it may be shown
connection.py    engines, transactions, psycopg2's errors as ours, waiting until the database answers
embedded.py      a Postgres of our own under a data folder, for demo, dev and tests
sql/             the statements, each with the transition it makes above it
migrations/      the schema, step by step

Importing this package imports nothing.
"""
