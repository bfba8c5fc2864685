"""What Alembic runs for a migration: everything in the one transaction that store/migrate.py has begun."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_version",
    version_table_schema="dray",
    transactional_ddl=False,  # the transaction is the caller's
)
context.run_migrations()
