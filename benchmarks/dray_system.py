"""Dray as a measured system: the worker in its own process, the Client in this one."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import sqlalchemy

from benchmarks.child import HARNESS, Span
from benchmarks.figures import OUT
from benchmarks.measure import NODES
from benchmarks.processes import cpu_by_role
from benchmarks.server import Server
from benchmarks.systems import Child, SystemFailed, python
from dray.cluster.graph.files import canonical_graph
from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.migrate import migrate
from dray.store.url import DatabaseURL

HANDLERS = "benchmarks.handlers"
POLL = 0.05
# Of one execution at a time. Each look takes CPU from what it looks at: LAT10 was 54 ms with looks 1 ms apart, 43 with
# 3, 41 with 6.
FINE_POLL = 0.003
# Between two, so that each finds the system idle.
REST = 0.05
PATIENCE = 180.0
FINAL = ("completed", "failed", "cancelled")

# Each part is one look into a small partial index.
_UNFINISHED = """SELECT EXISTS (SELECT 1 FROM dray.execution WHERE status = 'queued')
    OR EXISTS (SELECT 1 FROM dray.execution WHERE owner IS NOT NULL)
    OR EXISTS (SELECT 1 FROM dray.execution WHERE status = 'waiting' AND wake_at IS NOT NULL)"""
_SPAN = """SELECT extract(epoch FROM min(started_at))::float8, extract(epoch FROM max(finished_at))::float8,
    count(*) FILTER (WHERE status = 'completed'), min(error::text) FROM dray.execution WHERE id = ANY (%s::uuid[])"""
_OUTCOMES = "SELECT count(*) FROM dray.checkpoint WHERE execution_id = ANY (%s::uuid[]) AND kind = 'c'"
_COUNTS = """SELECT (SELECT count(*) FROM dray.execution WHERE status = 'queued'),
    (SELECT count(*) FROM dray.execution WHERE owner IS NOT NULL),
    (SELECT count(*) FROM dray.execution WHERE status = 'failed' AND finished_at IS NOT NULL)"""
_STATUS = "SELECT status FROM dray.execution WHERE id = %s::uuid"


def graph(bench: str) -> dict[str, Any]:
    """The benchmark's workflow, canonical: nodes in a line, or all at once for WIDE."""
    count = NODES[bench]
    nodes = [{"id": f"n{number}", "type": "noop"} for number in range(count)]
    line = [{"from": f"n{number}", "to": f"n{number + 1}"} for number in range(count - 1)]
    return canonical_graph({"nodes": nodes, "edges": [] if bench == "WIDE" else line}, [HANDLERS])


class Dray:
    """A worker that is ready when the constructor returns; it starts its own Ray, which takes some seconds."""

    name = "dray"

    def __init__(self, server: Server) -> None:
        self.database = "dray"
        url = server.database(self.database)
        self._engine = connect(url, pool_size=2, application_name=HARNESS)
        migrate(self._engine)
        self._client = Client(self._engine)
        for bench in NODES:
            self._client.apply_workflow(bench, graph(bench))
        # In transactions of this process's own, not in autocommit mode.
        self._plain = sqlalchemy.create_engine(
            DatabaseURL.of(url).url, connect_args={"application_name": HARNESS}, pool_size=1
        )
        self._transaction = self._plain.connect()
        self._watch = server.connect(url).cursor()
        self._ids: list[str] = []
        self._worker = Child([python(), "-m", "benchmarks.dray_worker", "--url", url], OUT / "dray.log")
        try:
            self._worker.answer()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the driver."""
        return self._worker.pid

    def prepare(self, bench: str, count: int) -> None:
        self._ids = Client(self._transaction).submit_many(bench, ({} for _ in range(count)))

    def run(self, bench: str, count: int) -> None:
        self._transaction.commit()
        until = time.monotonic() + PATIENCE
        while self._look(_UNFINISHED)[0]:
            if time.monotonic() > until:
                raise SystemFailed(f"{bench} has not finished after {PATIENCE:.0f} s (its output: {OUT / 'dray.log'})")
            time.sleep(POLL)

    def span(self, bench: str, count: int) -> Span:
        began, ended, completed, error = self._look(_SPAN, self._ids)
        if completed != count:
            raise SystemFailed(f"{bench}: {completed} of {count} executions completed: {error}")
        outcomes = self._look(_OUTCOMES, self._ids)[0]
        if outcomes != count * NODES[bench]:
            raise SystemFailed(f"{bench}: {outcomes} outcomes are stored, not {count * NODES[bench]}")
        return Span(began, ended)

    def submit(self, bench: str, count: int) -> None:
        self._client.submit_many(bench, ({} for _ in range(count)))

    def unfinished(self) -> tuple[int, int]:
        """Executions queued and running. Raises SystemFailed if one failed."""
        queued, running, failed = self._look(_COUNTS)
        if failed:
            raise SystemFailed("an execution failed")
        return queued, running

    def latencies(self, bench: str, count: int) -> list[float]:
        return [self._latency(bench) for _ in range(count)]

    def cpu(self) -> Counter[str]:
        return cpu_by_role(self._worker.pid, "driver")

    def ray_calls(self) -> int | None:
        self._worker.send(do="ray_calls")
        found: int | None = self._worker.answer()["ray_calls"]
        return found

    def close(self) -> None:
        self._worker.close()
        self._watch.connection.close()
        self._transaction.close()
        self._plain.dispose()
        self._engine.dispose()

    def _latency(self, bench: str) -> float:
        time.sleep(REST)
        began = time.perf_counter()
        execution = self._client.submit(bench)
        while True:
            (status,) = self._look(_STATUS, execution)
            if status in FINAL:
                break
            if time.perf_counter() > began + PATIENCE:
                raise SystemFailed(f"{bench} has not finished after {PATIENCE:.0f} s")
            time.sleep(FINE_POLL)
        if status != "completed":
            raise SystemFailed(f"{bench}: the execution {execution} ended as {status}")
        return time.perf_counter() - began

    def _look(self, statement: str, *given: object) -> Any:
        self._watch.execute(statement, given)
        return self._watch.fetchone()
