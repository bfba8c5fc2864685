"""Brings the tables to what this program needs, and says when they are not. Alembic underneath.

Each migrate() is one transaction: it ends with all steps made or none. Two at once wait for each other on a lock that
the transaction holds, which works behind a pooler too.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from dray.store.connection import connection, transaction
from dray.store.errors import SchemaMissing, SchemaNewer

_LOCK = 0x64726179  # "dray"


def migrate(engine: Engine) -> str:
    """Make all steps that are missing; gives the revision then. Raises SchemaNewer, StoreError."""
    with transaction(engine, hold=60.0, lock_wait=60.0) as found:
        found.exec_driver_sql("SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": _LOCK})
        found.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS dray")
        config = _config()
        _refuse_newer(_revision(found), config)
        config.attributes["connection"] = found
        command.upgrade(config, "head")
        return _revision(found) or ""


def verify(engine: Engine) -> None:
    """Raises SchemaMissing where steps are missing, SchemaNewer where the tables are ahead of this program."""
    config = _config()
    with connection(engine) as found:
        revision = _revision(found)
    _refuse_newer(revision, config)
    newest = ScriptDirectory.from_config(config).get_current_head()
    if revision != newest:
        raise SchemaMissing(f"found {revision or 'nothing'}, needed {newest}")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _refuse_newer(revision: str | None, config: Config) -> None:
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaNewer(revision)


def _revision(found: Connection) -> str | None:
    table = found.exec_driver_sql("SELECT to_regclass('dray.alembic_version')").scalar_one()
    if table is None:
        return None
    revision: str | None = found.exec_driver_sql("SELECT version_num FROM dray.alembic_version").scalar_one_or_none()
    return revision
