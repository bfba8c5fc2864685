"""A Docker network with a Postgres of ours in it: where the tests of the image put their containers."""

from __future__ import annotations

import json
import random
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.docker.engine import STAND_IN_POSTGRES, call, dray_image, image, inspect, logs, need_engine, until

LABEL = "dray.test"
STARTED = "Workflow worker started"


class Place(NamedTuple):
    network: str
    url: str
    image: str
    database: str

    def run(self, *options: str, command: tuple[str, ...] = (), told: bool = True) -> str:
        """A container, left running. told: where the database is."""
        where = ("-e", f"DRAY_DATABASE_URL={self.url}") if told else ()
        return _run(self.network, *where, *options, self.image, *command)

    def dray(self, *arguments: str, given: str | None = None) -> str:
        """A command in a container of its own, so that it takes nothing from the one that is tried."""
        return call(
            "docker", "run", "-i", "--rm", "--network", self.network, "-e", f"DRAY_DATABASE_URL={self.url}",
            self.image, "dray", *arguments, given=given,
        )  # fmt: skip

    def apply(self, graph: Mapping[str, Any]) -> None:
        self.dray("workflow", "apply", "-", given=json.dumps(graph))

    def sql(self, statement: str) -> list[str]:
        """One string per row, with | between its columns."""
        return call("docker", "exec", self.database, "psql", "-U", "dray", "-d", "dray", "-Atc", statement).splitlines()

    def submit(self, workflow: str, executions: int) -> None:
        self.sql(f"SELECT count(dray.submit('{workflow}')) FROM generate_series(1, {executions})")

    def statuses(self) -> dict[str, int]:
        rows = self.sql("SELECT status, count(*) FROM dray.execution GROUP BY status")
        return {status: int(count) for status, count in (each.split("|") for each in rows)}


@contextmanager
def a_place() -> Iterator[Place]:
    """With the schema. In the end no container is left in it."""
    need_engine()
    postgres, built = image("POSTGRES_IMAGE", STAND_IN_POSTGRES), dray_image()
    network = _network()
    try:
        database = _run(
            network, "--network-alias", "db", "-e", "POSTGRES_USER=dray", "-e", "POSTGRES_PASSWORD=secret",
            "-e", "POSTGRES_DB=dray", postgres,
        )  # fmt: skip
        until(lambda: _ready(database), every=0.3)
        found = Place(network, "postgresql://dray:secret@db:5432/dray", built, database)
        found.dray("migrate")
        yield found
    finally:
        remove(*call("docker", "ps", "-aq", "--filter", f"label={LABEL}={network}").split())
        subprocess.run(["docker", "network", "rm", network], capture_output=True)


def _network() -> str:
    """With a subnet that we name: only there may a container come back with the address that it had."""
    name = f"dray-test-{uuid.uuid4().hex[:8]}"
    for _ in range(20):
        subnet = f"10.{random.randint(64, 250)}.{random.randint(0, 255)}.0/24"
        command = ["docker", "network", "create", "--subnet", subnet, name]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode == 0:
            return name
    raise AssertionError(made.stderr)


def _run(network: str, *arguments: str) -> str:
    return call("docker", "run", "-d", "--label", f"{LABEL}={network}", "--network", network, *arguments).strip()


def _ready(database: str) -> bool:
    command = ["docker", "exec", database, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "dray", "-d", "dray"]
    return subprocess.run(command, capture_output=True).returncode == 0


def remove(*containers: str) -> None:
    if containers:
        subprocess.run(["docker", "rm", "-f", "-v", *containers], capture_output=True)


def started(container: str) -> str:
    """The container, when its driver runs."""
    until(lambda: STARTED in logs(container) or not inspect(container)["State"]["Running"], every=0.3)
    assert inspect(container)["State"]["Running"], logs(container)[-3000:]
    return container


def stopped(container: str) -> int:
    """Its exit code."""
    call("docker", "stop", "-t", "60", container)
    code: int = inspect(container)["State"]["ExitCode"]
    return code
