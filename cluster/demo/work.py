"""The demo's moving parts: a database in a temporary folder, a driver in a process of its own, the kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dray.cluster.dev import database
from dray.cluster.settings import PLATFORM_NAMES, PREFIX
from dray.store.connection import connect, connection

STOP_SECONDS = 30.0
# Few enough in flight that it can be watched, and that a kill half-way finds work to interrupt.
DRIVER_SETTINGS = {
    "CONCURRENCY": "60",
    "RUNNER_CONCURRENCY": "16",
    "RUNNERS": "2",
    "RUNNER_CPUS": "0.5",
    "RETRY_DELAY": "0.5",
}

_PROGRESS = """
    SELECT count(*), count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'running'),
        count(*) FILTER (WHERE status = 'waiting'), count(*) FILTER (WHERE status IN ('failed', 'cancelled')),
        (SELECT count(*) FROM dray.checkpoint WHERE kind IN ('c', 'w'))
    FROM dray.execution
"""
_ALIVE = "SELECT name, pid FROM dray.runner WHERE ended_at IS NULL ORDER BY id"
_HEIR = """
    SELECT EXISTS (SELECT FROM dray.runner v JOIN dray.runner r ON r.started_at > v.ended_at WHERE v.pid = %(victim)s)
"""


class Progress(NamedTuple):
    """Executions by status, and nodes recorded so far."""

    submitted: int
    completed: int
    running: int
    waiting: int
    failed: int
    nodes: int

    @property
    def finished(self) -> int:
        return self.completed + self.failed


class Watch:
    """Looks into the database beside the driver."""

    def __init__(self, url: str) -> None:
        self._engine = connect(url, pool_size=1, application_name="dray demo")

    def progress(self) -> Progress:
        with connection(self._engine) as found:
            return Progress(*found.exec_driver_sql(_PROGRESS).one())

    def runners(self) -> list[tuple[str, int]]:
        """Name and process of each that lives. All are on this host: the Ray is our own."""
        with connection(self._engine) as found:
            return [(name, pid) for name, pid in found.exec_driver_sql(_ALIVE)]

    def replaced(self, victim: int) -> bool:
        """Whether a runner has started since that process ended."""
        with connection(self._engine) as found:
            return bool(found.exec_driver_sql(_HEIR, {"victim": victim}).scalar_one())

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def temporary_database() -> Iterator[tuple[Path, str]]:
    """A folder for everything, and the connection string of a Postgres in it. Both are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dray-demo-"))
    try:
        with database(folder) as url:
            yield folder, url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Driver:
    """`dray worker` in a session of its own, so that a Ctrl-C reaches it through us only."""

    def __init__(self, url: str, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dray", "worker"],
                env=_environment(os.environ, url),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def ended(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """Asks it to drain; after half a minute it is not asked any more."""
        if self.ended is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def wait_until(reached: float, watch: Watch, driver: Driver, seconds: float) -> Iterator[Progress]:
    """Progress, five times a second, until that share of the executions has finished, the driver has, or time is up."""
    until = time.monotonic() + seconds
    while True:
        progress = watch.progress()
        yield progress
        if progress.finished >= reached * progress.submitted or driver.ended is not None or time.monotonic() > until:
            return
        time.sleep(0.2)


def _environment(given: Mapping[str, str], url: str) -> dict[str, str]:
    """Ours without any setting of the user's: the demo is the same everywhere."""
    platform = ("SUPABASE_", "POSTGRES_", "DATABASE_URL", *PLATFORM_NAMES.values())
    kept = {name: value for name, value in given.items() if not name.startswith((PREFIX, *platform))}
    settings = {"DATABASE_URL": url, "LOG_FORMAT": "text", **DRIVER_SETTINGS}
    return {**kept, **{PREFIX + name: value for name, value in settings.items()}}
