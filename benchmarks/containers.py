"""What containers as small as a hosting service's smallest plan do, one to three of them on one database.

    DRAY_IMAGE=dray:latest POSTGRES_IMAGE=postgres:17 python -m benchmarks.containers

Each is `dray single` in 512 MiB and half a CPU. `busy`: executions of ten nodes in a line that do nothing else than be
recorded; `waiting`: executions that wait a second each for an answer over HTTP. Needs a Docker engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

SMALL = ("-m", "512m", "--memory-swap", "512m", "--cpus", "0.5", "--stop-timeout", "60")
# One CPU is left to Postgres, which no plan has on the same machine, and to what answers over HTTP.
COUNTS = (1, 2, 3)
ANSWER = """
import asyncio
async def serve(reader, writer):
    while await reader.readline() not in (b"\\r\\n", b""):
        pass
    await asyncio.sleep(1)
    writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\nconnection: close\\r\\n\\r\\n{}")
    await writer.drain()
    writer.close()
async def main():
    await (await asyncio.start_server(serve, "0.0.0.0", 8000, backlog=1000)).serve_forever()
asyncio.run(main())
"""
NODES = 10


class Work(NamedTuple):
    name: str
    executions: int
    graph: dict[str, Any]


def in_line(name: str, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    edges = [{"from": one["id"], "to": other["id"]} for one, other in pairwise(nodes)]
    return {"name": name, "nodes": nodes, "edges": edges}


WORK = (
    Work(
        "busy",
        1_000,
        in_line(
            "busy",
            [
                {"id": f"n{each}", "type": "set_variable", "config": {"variable_name": "x", "variable_value": each}}
                for each in range(NODES)
            ],
        ),
    ),
    Work(
        "waiting",
        500,
        in_line("waiting", [{"id": "ask", "type": "http_request", "config": {"url": "http://slow:8000/"}}]),
    ),
)


def call(*command: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:6])} ...: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not what():
        if time.monotonic() > end:
            raise SystemExit("a container did not come up, or its work did not end, within 600 s")
        time.sleep(0.5)


class Place:
    """A network with a Postgres and what answers slowly; all that was started in it ends with the block."""

    def __init__(self, image: str, postgres: str) -> None:
        self._image, self._postgres = image, postgres
        self._name = f"dray-bench-{uuid.uuid4().hex[:8]}"
        self._url = "postgresql://dray:secret@db:5432/dray"
        self._started: list[str] = []

    def __enter__(self) -> Place:
        call("docker", "network", "create", self._name)
        given = ("-e", "POSTGRES_USER=dray", "-e", "POSTGRES_PASSWORD=secret", "-e", "POSTGRES_DB=dray")
        self._database = self.start("--network-alias", "db", "--shm-size", "128m", *given, self._postgres)
        self.start("--network-alias", "slow", "--no-healthcheck", self._image, "python", "-c", ANSWER)
        until(lambda: self.sql("SELECT 1", check=False) == "1")
        self.dray("migrate")
        for work in WORK:
            self.dray("workflow", "apply", "-", given=json.dumps(work.graph))
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._started:
            subprocess.run(["docker", "rm", "-f", "-v", each], capture_output=True)
        subprocess.run(["docker", "network", "rm", self._name], capture_output=True)

    def start(self, *arguments: str) -> str:
        found = call("docker", "run", "-d", "--network", self._name, *arguments)
        self._started.append(found)
        return found

    def single(self) -> str:
        found = self.start("-e", f"DRAY_DATABASE_URL={self._url}", *SMALL, self._image)
        until(lambda: "Workflow worker started" in call("sh", "-c", f"docker logs {found} 2>&1"))
        return found

    def dray(self, *arguments: str, given: str | None = None) -> None:
        call(
            "docker", "run", "-i", "--rm", "--network", self._name, "-e", f"DRAY_DATABASE_URL={self._url}",
            self._image, "dray", *arguments, given=given,
        )  # fmt: skip

    def sql(self, statement: str, *, check: bool = True) -> str:
        # Over TCP: while the image sets the database up, it answers on its socket only.
        command = ["docker", "exec", "-e", "PGPASSWORD=secret", self._database, "psql", "-h", "127.0.0.1", "-U", "dray"]
        done = subprocess.run([*command, "-d", "dray", "-Atc", statement], capture_output=True, text=True, check=check)
        return done.stdout.strip()

    def seconds(self, work: Work) -> float:
        """From the first execution started to the last finished; all must have completed."""
        began = self.sql("SELECT clock_timestamp()")
        self.sql(f"SELECT count(dray.submit('{work.name}')) FROM generate_series(1, {work.executions})")
        until(lambda: self.sql("SELECT count(*) FROM dray.execution WHERE finished_at IS NULL") == "0")
        count, seconds = self.sql(
            "SELECT count(*) FILTER (WHERE status = 'completed'),"
            " extract(epoch FROM max(finished_at) - min(started_at))"
            f" FROM dray.execution WHERE started_at >= '{began}'"
        ).split("|")
        if int(count) != work.executions:
            raise SystemExit(f"{count} of {work.executions} executions completed")
        return float(seconds)


def memory(container: str) -> float:
    """MiB, as Docker counts them."""
    text = call("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", container).split("/")[0].strip()
    return float(text.removesuffix("MiB")) if text.endswith("MiB") else float(text.removesuffix("GiB")) * 1024


def main() -> int:
    names = [os.environ.get("DRAY_IMAGE", "dray:latest"), os.environ.get("POSTGRES_IMAGE", "postgres:17")]
    table = Table("containers", *(f"{work.name}, executions/s" for work in WORK), "MiB of each")
    with Place(*names) as place:
        containers: list[str] = []
        for count in COUNTS:
            containers += [place.single() for _ in range(count - len(containers))]
            for work in WORK:
                place.seconds(work)  # warms up
            rates = [work.executions / place.seconds(work) for work in WORK]
            used = max(memory(each) for each in containers)
            table.add_row(str(count), *(f"{each:.0f}" for each in rates), f"{used:.0f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
