"""Fixtures on a real Postgres: one server per session, a migrated template, a clone of it per test."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine

from dray.store.client.client import Client
from dray.store.connection import connect, connection
from dray.store.driver_store import DriverStore
from dray.store.embedded import EmbeddedPostgres
from dray.store.migrate import migrate
from dray.store.url import DatabaseURL

# Nothing here must survive a crash of the server, so it need not wait for the disk.
UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
TEMPLATE = "dray_template"
_numbers = itertools.count(1)


def at(server: str, database: str) -> str:
    """The URL of another database of the server."""
    return str(DatabaseURL.of(DatabaseURL.of(server).url.set(database=database)).with_password())


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server's database `postgres`; the migrated template is on it.

    TEST_SERVER names another server to try, as its superuser: nothing on it may be needed.
    """
    with a_server() as url:
        run(url, f"CREATE DATABASE {TEMPLATE}")
        engine = connect(at(url, TEMPLATE), pool_size=1)
        migrate(engine)
        engine.dispose()
        yield url


@contextmanager
def a_server() -> Iterator[str]:
    """Not in a folder of pytest: each pytest that starts takes the rights on /tmp/pytest-of-<user> from all others,
    and as root the server is another user.
    """
    if given := os.environ.get("TEST_SERVER"):
        run(given, f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="dray-pg-") as folder, EmbeddedPostgres(folder, settings=UNSAFE) as url:
        yield url


@contextmanager
def a_database(server: str) -> Iterator[str]:
    """The URL of a migrated database, which ends with the block."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    run(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield at(server, name)
    run(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(server: str) -> Iterator[str]:
    """The URL of a migrated database of this test's own."""
    with a_database(server) as url:
        yield url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    found = connect(database, pool_size=20)
    yield found
    found.dispose()


@pytest.fixture
def store(engine: Engine) -> DriverStore:
    return DriverStore(engine)


@pytest.fixture
def client(engine: Engine) -> Client:
    return Client(engine)


@pytest.fixture
def sql(engine: Engine) -> Sql:
    return Sql(engine)


class Sql:
    """sql("SELECT ...", name=value) -> rows as tuples, each statement a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, statement: str, **given: Any) -> list[tuple[Any, ...]]:
        with connection(self._engine) as found:
            answer = found.exec_driver_sql(statement, given or None)
            return [tuple(row) for row in answer] if answer.returns_rows else []


def run(url: str, statement: str) -> None:
    engine = connect(url, pool_size=1)
    try:
        with connection(engine) as found:
            found.exec_driver_sql(statement)
    finally:
        engine.dispose()
