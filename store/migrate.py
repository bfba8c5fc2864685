"""Brings the tables to what this program needs, and says when they are not. Alembic underneath.

Each migrate() is one transaction: it ends with all steps made or none. Two at once wait for each other on a lock that
the transaction holds, which works behind a pooler too.

While it waits for the lock of a table, everybody else who wants that table stands in line behind it. So it waits for
LOCK_WAIT only, lets those go ahead, and tries again; meanwhile it looks who has the lock, and says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from dray.store.connection import connect, connection, transaction
from dray.store.errors import SchemaMissing, SchemaNewer, StoreError, Unavailable
from dray.store.queries import QUERIES

_LOCK = 0x64726179  # "dray"
_NO_LOCK = "55P03"
LOCK_WAIT = 2.0  # seconds that others stand in line behind it, at most
PAUSE = 1.0  # in which they go ahead
LOOK = 0.2  # seconds between two looks who has the lock
PATIENCE = 120.0  # for all tries


def migrate(engine: Engine, on_wait: Callable[[str], object] | None = None, patience: float = PATIENCE) -> str:
    """Make all steps that are missing; gives the revision then. Raises SchemaNewer, StoreError.

    on_wait: called with one line each time that a lock was not to be had, which says who has it. patience: seconds,
    after which Unavailable is raised with that line.
    """
    until = time.monotonic() + patience
    while True:
        with _looking_for_blockers(engine) as blockers:
            try:
                return _all_steps(engine, blockers)
            except Unavailable as error:
                if error.sqlstate != _NO_LOCK:
                    raise
                told = f"waiting for a lock: {blockers.who}"
        if time.monotonic() >= until:
            raise Unavailable(f"no lock within {patience:g} s: {blockers.who}", _NO_LOCK, lost=False) from None
        if on_wait is not None:
            on_wait(told)
        time.sleep(PAUSE)


def _all_steps(engine: Engine, blockers: _Blockers) -> str:
    with transaction(engine, hold=60.0, lock_wait=LOCK_WAIT) as found:
        blockers.of = found.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        found.exec_driver_sql("SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": _LOCK})
        found.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS dray")
        config = _config()
        _refuse_newer(_revision(found), config)
        config.attributes["connection"] = found
        command.upgrade(config, "head")
        return _revision(found) or ""


class _Blockers:
    """Who had a lock that the process `of` of the server waited for, when it was looked last."""

    def __init__(self) -> None:
        self.of: int | None = None
        self.who = "it is not known who has it"


@contextmanager
def _looking_for_blockers(engine: Engine) -> Iterator[_Blockers]:
    """Beside the transaction, as nobody can tell any more once it has given up: on a connection of its own."""
    found, ended = _Blockers(), threading.Event()

    def look() -> None:
        own = connect(engine.url, pool_size=1, application_name="dray migrate")
        try:
            while not ended.wait(LOOK):
                if found.of is not None:
                    with connection(own) as asked:
                        rows = asked.exec_driver_sql(QUERIES["blockers"], {"pid": found.of}).all()
                    found.who = "; ".join(_line(*row) for row in rows) or found.who
        except StoreError:
            pass  # it is told without the name then
        finally:
            own.dispose()

    thread = threading.Thread(target=look, name="blockers", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _line(pid: int, application: str | None, role: str | None, since: str | None, state: str | None) -> str:
    parts = [f"pid {pid}", application and f"application {application!r}", role and f"role {role!r}", state]
    return f"{', '.join(part for part in parts if part)}, in a transaction since {since or 'an unknown time'}"


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
