"""Does a claim cost more when more is queued? 100 executions at a time, with 1,000 and with 1,000,000 queued."""

from __future__ import annotations

import json
import os
import time
import uuid
from statistics import median
from typing import Any

from benchmarks.child import HARNESS
from benchmarks.dray_system import graph
from benchmarks.figures import Figures
from benchmarks.server import Server
from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.driver_store import DriverStore, claim_parameters
from dray.store.migrate import migrate
from dray.store.queries import QUERIES

FEW, MANY = 1_000, 1_000_000
LIMIT = 100
# Of the few, half may be claimed before they are made anew.
CLAIMS = FEW // LIMIT // 2
ROUNDS = 6

# Priorities 1 to 9, and a queue beside the one that is claimed from. run_at in order, as submit gives it.
_FILL = """WITH made AS (
    INSERT INTO dray.execution (id, workflow_id, run_at, priority, queue, rank)
    SELECT dray.uuid7(), 1, e.run_at, e.priority, e.queue, dray.rank(e.queue, e.priority, e.run_at)
    FROM generate_series(1, %s) AS n, LATERAL (SELECT now() - interval '1 day' + n * interval '50 ms', 1 + n %% 9,
        CASE WHEN n %% 10 = 0 THEN 'other' ELSE 'default' END) AS e (run_at, priority, queue) RETURNING id)
INSERT INTO dray.execution_input (execution_id, input) SELECT id, '{}' FROM made"""


def measure(server: Server, figures: Figures, *, quick: bool) -> None:
    url = server.database("claim")
    engine = connect(url, pool_size=2, application_name=HARNESS)
    try:
        migrate(engine)
        Client(engine).apply_workflow("W1", graph("W1"))
        store = DriverStore(engine)
        incarnation = str(uuid.uuid4())
        store.register(incarnation, 3600.0, {"pid": os.getpid(), "host": "benchmark"})
        cursor = server.connect(url).cursor()
        taken = {}
        for bench, count in (("CLAIM_1K", FEW), ("CLAIM_1M", MANY // 10 if quick else MANY)):
            found = [
                _round(cursor, store, incarnation, count, fill=count == FEW or not number) for number in range(ROUNDS)
            ]
            times = [each for times, _ in found for each in times]
            taken[bench] = median(times)
            figures.add(bench, "dray", "claim_ms", times)
            figures.add(bench, "dray", "claim_buffers", [buffers for _, buffers in found])
        figures.add("CLAIM", "dray", "claim_ratio", [taken["CLAIM_1M"] / taken["CLAIM_1K"]])
    finally:
        engine.dispose()


def _round(cursor: Any, store: DriverStore, incarnation: str, count: int, *, fill: bool) -> tuple[list[float], int]:
    """Milliseconds of a few claims, and the buffers that one more looked at."""
    if fill:
        cursor.execute("TRUNCATE dray.execution, dray.execution_input")
        cursor.execute(_FILL, (count,))
        cursor.execute("VACUUM ANALYZE dray.execution, dray.execution_input")
        cursor.execute("CHECKPOINT")
    times = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        claimed = store.claim(incarnation, ["default"], LIMIT)
        times.append((time.perf_counter() - began) * 1000)
        assert len(claimed) == LIMIT, f"{len(claimed)} claimed"
    given = claim_parameters(incarnation, ["default"], LIMIT)
    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {QUERIES['claim_if_fenced']}", given)
    (plans,) = cursor.fetchone()
    top = (json.loads(plans) if isinstance(plans, str) else plans)[0]["Plan"]
    # The first claim after the fill finds nothing in its connection's caches.
    return times[1:], top["Shared Hit Blocks"] + top["Shared Read Blocks"]
