"""The one Postgres server of a run: embedded, with the durability that Postgres has by default."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg2

from benchmarks.child import HARNESS
from benchmarks.figures import OUT
from benchmarks.processes import cpu_by_role
from benchmarks.statements import PREFIX, Counted, count
from dray.store.embedded import SUPERUSER, EmbeddedPostgres

SHOWN = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers",
    "max_wal_size", "autovacuum",
)  # fmt: skip


class Server:
    """with Server() as server: ...

    The data lies under benchmarks/out, so on the disk of the checkout, and is removed afterwards.
    """

    def __init__(self) -> None:
        _remove_leftovers()
        self._folder = OUT / f"server-{os.getpid()}"
        self._postgres = EmbeddedPostgres(self._folder, {"log_line_prefix": PREFIX, "log_parameter_max_length": "0"})

    def __enter__(self) -> Server:
        self._connection = psycopg2.connect(self._postgres.start(), application_name=HARNESS)
        self._connection.autocommit = True
        # This process's own connections, whose work is not the measured system's.
        self.own_backends = frozenset({self._connection.get_backend_pid()})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()
        self._postgres.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def database(self, name: str) -> str:
        """The URL of a new, empty database; one of that name goes first."""
        self._ask(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._ask(f'CREATE DATABASE "{name}"')
        return self._postgres.url.replace(f"/{SUPERUSER}?", f"/{name}?")

    def connect(self, url: str) -> Any:
        """A connection of the harness itself, in autocommit mode: left out of the counters."""
        connection = psycopg2.connect(url, application_name=HARNESS)
        connection.autocommit = True
        self.own_backends |= {connection.get_backend_pid()}
        return connection

    def settings(self) -> dict[str, str]:
        return {name: str(self._ask("SELECT current_setting(%s)", name)) for name in SHOWN}

    def checkpoint(self) -> None:
        """So that no run pays for the dirty pages of the one before."""
        self._ask("CHECKPOINT")

    def wal_bytes(self) -> int:
        """Written since the server was made."""
        return int(self._ask("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def cpu(self) -> Counter[str]:
        """CPU seconds of all its processes so far, without the backends of this process."""
        assert self._postgres.pid is not None
        return cpu_by_role(self._postgres.pid, "postgres", without=self.own_backends)

    def counted(self, database: str, run: Callable[[], object]) -> Counted:
        """Calls run() and counts the statements and transactions on that database meanwhile."""
        log = self._folder / "postgres.log"
        self._log_statements("0")
        began = log.stat().st_size
        try:
            run()
        finally:
            self._log_statements("-1")
        with log.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(began)
            return count(lines, database, HARNESS)

    def _log_statements(self, least_ms: str) -> None:
        self._ask(f"ALTER SYSTEM SET log_min_duration_statement = '{least_ms}'")
        self._ask("SELECT pg_reload_conf()")
        time.sleep(0.2)  # backends read it before their next statement, once the postmaster has passed it on

    def _ask(self, statement: str, *given: object) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, given or None)
            return cursor.fetchone()[0] if cursor.description else None


def probe() -> str:
    """How fast this machine is right now; it drifts, and ratios across a drift mislead."""
    began = time.perf_counter()
    sum(number * number for number in range(2_000_000))
    loop = time.perf_counter() - began
    file = OUT / "probe"
    taken = []
    with file.open("wb", buffering=0) as written:
        for _ in range(50):
            written.write(bytes(8192))
            began = time.perf_counter()
            os.fdatasync(written.fileno())
            taken.append(time.perf_counter() - began)
    file.unlink()
    return f"2M loop turns in {loop * 1000:.0f} ms, fdatasync of 8 kB {statistics.median(taken) * 1000:.2f} ms"


def _remove_leftovers() -> None:
    """Data of runs that were killed."""
    OUT.mkdir(parents=True, exist_ok=True)
    for folder in OUT.glob("server-*"):
        if not Path("/proc", folder.name.removeprefix("server-")).exists():
            shutil.rmtree(folder, ignore_errors=True)
