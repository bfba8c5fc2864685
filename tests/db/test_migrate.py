"""Migrations: twice, two at once, never backwards; and a program refuses a schema that is not its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

import dray.store
from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.errors import AccessRefused, SchemaMissing, SchemaNewer, Unavailable
from dray.store.migrate import migrate, verify
from tests.db.helpers import Running, commit, transaction, until_blocked
from tests.pg import Sql, a_database, at, run

STEPS = [each.read_text() for each in (Path(dray.store.__file__).parent / "migrations/versions").glob("0*.py")]
# The one that no other follows: the order of the numbers is not that of the chain.
(NEWEST,) = {re.findall(r'^revision = "(\d+)"', each, re.M)[0] for each in STEPS} - {
    before for each in STEPS for before in re.findall(r'^down_revision = "(\d+)"', each, re.M)
}
SCHEMA = """
    SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'dray' ORDER BY 1, 2
"""


@pytest.fixture
def empty(server: str) -> Iterator[str]:
    run(server, "CREATE DATABASE empty")
    yield at(server, "empty")
    run(server, "DROP DATABASE empty WITH (FORCE)")


@pytest.fixture
def blank(empty: str) -> Iterator[Engine]:
    engine = connect(empty, pool_size=4)
    yield engine
    engine.dispose()


def test_an_empty_database_is_refused_until_it_is_migrated(blank: Engine) -> None:
    with pytest.raises(SchemaMissing, match=rf"found nothing, needed {NEWEST}.*dray migrate"):
        verify(blank)
    with pytest.raises(SchemaMissing, match="dray migrate"):
        Client(blank).submit("w")
    assert migrate(blank) == NEWEST
    verify(blank)


def test_a_second_time_changes_nothing(blank: Engine) -> None:
    migrate(blank)
    before = Sql(blank)(SCHEMA)
    assert migrate(blank) == NEWEST
    assert Sql(blank)(SCHEMA) == before
    assert len(before) > 40


def test_two_at_once_make_it_once(blank: Engine, empty: str) -> None:
    with transaction(empty) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (0x64726179,))
        both = [Running(lambda: migrate(blank)), Running(lambda: migrate(blank))]
        until_blocked(Sql(blank), 2)
        other.connection.rollback()
    assert [each.result() for each in both] == [NEWEST, NEWEST]
    verify(blank)


def test_a_schema_that_somebody_made_beforehand_is_used(blank: Engine) -> None:
    Sql(blank)("CREATE SCHEMA dray")
    migrate(blank)
    verify(blank)


def test_a_migration_that_fails_leaves_nothing(blank: Engine) -> None:
    sql = Sql(blank)
    sql("CREATE SCHEMA dray")
    sql("CREATE VIEW dray.attempts AS SELECT 1")  # the last thing that the first step makes
    with pytest.raises(Exception, match="attempts"):
        migrate(blank)
    assert sql("SELECT relname FROM pg_class WHERE relnamespace = 'dray'::regnamespace") == [("attempts",)]
    with pytest.raises(SchemaMissing):
        verify(blank)


@pytest.mark.usefixtures("own_database")
def test_a_newer_schema_is_refused_by_both(engine: Engine, sql: Sql) -> None:
    sql("UPDATE dray.alembic_version SET version_num = '9999'")
    for each in (verify, migrate):
        with pytest.raises(SchemaNewer, match=r"'9999'.*upgrade Dray"):
            each(engine)
    assert sql("SELECT version_num FROM dray.alembic_version") == [("9999",)]


@pytest.mark.usefixtures("own_database")
def test_an_older_schema_is_refused_with_what_was_found(engine: Engine, sql: Sql) -> None:
    sql("DELETE FROM dray.alembic_version")
    with pytest.raises(SchemaMissing, match=f"found nothing, needed {NEWEST}"):
        verify(engine)


def test_a_user_without_rights_is_told_so(server: str, blank: Engine, empty: str) -> None:
    run(server, "CREATE ROLE weak LOGIN")
    weak = connect(empty.replace("postgres@", "weak@"), pool_size=1)
    try:
        with pytest.raises(AccessRefused, match="permission denied"):
            migrate(weak)
    finally:
        weak.dispose()
        run(server, "DROP ROLE weak")


def test_table_settings_are_there(sql: Sql) -> None:
    """They are silently lost where a table is made anew."""
    found = dict(sql("SELECT relname, reloptions::text FROM pg_class WHERE reloptions IS NOT NULL"))
    assert found.keys() >= {"driver", "execution", "checkpoint"}
    assert "fillfactor=70" in found["execution"]
    assert "fillfactor=50" in found["driver"]


def test_who_waits_for_a_lock_lets_others_go_ahead_and_names_who_has_it(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that must lock a table, while somebody has a transaction open on it and others want to use it."""
    told: list[str] = []
    with a_database(server) as url:
        engine = connect(url, pool_size=4)
        Sql(engine)("UPDATE dray.alembic_version SET version_num = '0006'")
        monkeypatch.setattr(
            "dray.store.migrate.command.upgrade",
            lambda config, _: config.attributes["connection"].exec_driver_sql(
                "LOCK TABLE dray.execution; UPDATE dray.alembic_version SET version_num = 'done'"
            ),
        )
        try:
            with transaction(url) as person:
                person.execute("SET application_name = 'psql of Ada'; SELECT count(*) FROM dray.execution")
                pid = person.connection.get_backend_pid()
                migrating = Running(lambda: migrate(engine, told.append))
                until_blocked(Sql(engine))
                Client(engine).list()  # stands in line, and is let go ahead
                while not told:
                    migrating.join(0.05)
                    assert migrating.is_alive()
                commit(person)
            assert migrating.result() == "done"
        finally:
            engine.dispose()
    assert f"pid {pid}" in told[0]
    assert "application 'psql of Ada', role 'postgres', idle in transaction, in a transaction since 20" in told[0]


def test_who_never_gets_the_lock_says_who_has_it(blank: Engine, empty: str) -> None:
    with transaction(empty) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (0x64726179,))
        with pytest.raises(Unavailable, match=r"no lock within 0 s: pid \d+, .*in a transaction since 20"):
            migrate(blank, patience=0.0)
