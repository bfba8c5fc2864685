"""What containers as small as a hosting service's smallest plan do, one to three of them on one database.

Each is `dray single` in 512 MiB and half a CPU. `busy`: executions of ten nodes in a line that do nothing else than be
recorded; `waiting`: executions that wait a second each for an answer over HTTP. Needs a Docker engine, and images as
the tests of containers do (docs/development.md), in whose place it runs.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from rich.console import Console
from rich.table import Table

from tests.docker.engine import call, until
from tests.docker.places import Place, a_place, started

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


def seconds(place: Place, work: Work) -> float:
    """From the first execution started to the last finished; all must have completed."""
    (began,) = place.sql("SELECT clock_timestamp()")
    place.submit(work.name, work.executions)
    until(lambda: place.sql("SELECT count(*) FROM dray.execution WHERE finished_at IS NULL") == ["0"], 600, 0.5)
    (found,) = place.sql(
        "SELECT count(*) FILTER (WHERE status = 'completed'),"
        " extract(epoch FROM max(finished_at) - min(started_at))"
        f" FROM dray.execution WHERE started_at >= '{began}'"
    )
    count, passed = found.split("|")
    if int(count) != work.executions:
        raise SystemExit(f"{count} of {work.executions} executions completed")
    return float(passed)


def memory(container: str) -> float:
    """MiB, as Docker counts them."""
    text = call("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", container).split("/")[0].strip()
    return float(text.removesuffix("MiB")) if text.endswith("MiB") else float(text.removesuffix("GiB")) * 1024


def main() -> int:
    table = Table("containers", *(f"{work.name}, executions/s" for work in WORK), "MiB of each")
    try:
        with a_place() as place:
            place.run("--network-alias", "slow", "--no-healthcheck", command=("python", "-c", ANSWER), told=False)
            for work in WORK:
                place.apply(work.graph)
            containers: list[str] = []
            for count in COUNTS:
                containers += [started(place.run(*SMALL)) for _ in range(count - len(containers))]
                for work in WORK:
                    seconds(place, work)  # warms up
                rates = [work.executions / seconds(place, work) for work in WORK]
                used = max(memory(each) for each in containers)
                table.add_row(str(count), *(f"{each:.0f}" for each in rates), f"{used:.0f}")
    except pytest.skip.Exception as reason:
        raise SystemExit(str(reason)) from None
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
