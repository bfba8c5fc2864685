"""What one benchmark of one system is: how much of it, how often, and what is read before and after.

W1 and W10: all executions are submitted in one transaction; CHECKPOINT; counters; the transaction is committed; the
system works; counters. Rates are taken between the first execution taken and the last one finished, by the clock of the
database; `seconds` is the same as the harness sees it, from the commit to the discovery that all is done.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from statistics import quantiles
from typing import NamedTuple

from benchmarks.server import Server
from benchmarks.systems import System

NODES = {"W1": 1, "W10": 10, "WIDE": 1000, "LAT1": 1, "LAT10": 10}
LOADS = ("W1", "W10")


class Amount(NamedTuple):
    """count: executions in one run, or samples of a latency in one run. runs: how many count."""

    count: int
    runs: int


# As many as the system does in about two seconds, so that starting and ending weigh little.
AMOUNTS: dict[str, dict[str, Amount]] = {
    "dray": {
        "W1": Amount(10_000, 5),
        "W10": Amount(2_000, 5),
        "WIDE": Amount(3, 5),
        "LAT1": Amount(60, 3),
        "LAT10": Amount(30, 3),
    },
    "dbos": {
        "W1": Amount(1_000, 3),
        "W10": Amount(250, 3),
        "WIDE": Amount(1, 3),
        "LAT1": Amount(60, 3),
        "LAT10": Amount(20, 3),
    },
    "pgqueuer": {"W1": Amount(30_000, 5), "WIDE": Amount(3, 5)},
    "temporal": {"W1": Amount(100, 3), "W10": Amount(30, 3), "LAT1": Amount(20, 3), "LAT10": Amount(8, 3)},
}


class Run(NamedTuple):
    """One counted run. seconds: by the database's clock. wall: as the harness sees it. cpu: seconds by role."""

    seconds: float
    wall: float
    wal_bytes: int
    cpu: Counter[str]
    ray_calls: int | None


class Outcome(NamedTuple):
    """All that was found about one benchmark of one system, before it is known whether it is the better variant."""

    metrics: dict[str, list[float]]
    notes: list[str]

    def joined(self, later: Outcome) -> Outcome:
        """With the runs of a later pass."""
        return Outcome({each: [*runs, *later.metrics[each]] for each, runs in self.metrics.items()}, later.notes)


def measure(server: Server, system: System, bench: str, amount: Amount) -> Outcome:
    """Raises SystemFailed."""
    if bench in LOADS:
        return _load(server, system, bench, amount)
    system.latencies(bench, min(amount.count, 3))
    runs = [system.latencies(bench, amount.count) for _ in range(amount.runs)]
    if bench == "WIDE":
        times = [each for run in runs for each in run]
        return Outcome({"seconds": times, "nodes_per_s": [NODES[bench] / each for each in times]}, [])
    return Outcome(
        {
            "latency_p50_ms": [percentile(run, 50) * 1000 for run in runs],
            "latency_p99_ms": [percentile(run, 99) * 1000 for run in runs],
        },
        [],
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """The p99 of fewer than 100 values is their maximum."""
    if percent == 99 and len(values) < 100:
        return max(values)
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def _load(server: Server, system: System, bench: str, amount: Amount) -> Outcome:
    nodes = amount.count * NODES[bench]
    metrics: dict[str, list[float]] = {}
    notes = []
    system.prepare(bench, amount.count)
    if system.database is None:
        system.run(bench, amount.count)
    else:
        counted = server.counted(system.database, lambda: system.run(bench, amount.count))
        metrics["tx_per_node"] = [counted.transactions / nodes]
        metrics["statements_per_node"] = [counted.statements / nodes]
        notes += [f"{number:>7}x {text}" for text, number in counted.texts.most_common(8)]
    runs = [_run(server, system, bench, amount.count) for _ in range(amount.runs)]
    metrics["nodes_per_s"] = [nodes / run.seconds for run in runs]
    metrics["executions_per_s"] = [amount.count / run.seconds for run in runs]
    metrics["seconds"] = [run.wall for run in runs]
    metrics["cpu_s_per_1000_nodes"] = [run.cpu.total() / nodes * 1000 for run in runs]
    if system.database is not None:
        metrics["wal_bytes_per_node"] = [run.wal_bytes / nodes for run in runs]
    if runs[0].ray_calls is not None:
        metrics["ray_calls_per_node"] = [(run.ray_calls or 0) / nodes for run in runs]
    cpu = sum((run.cpu for run in runs), Counter[str]())
    parts = ", ".join(f"{role} {used / nodes / len(runs) * 1000:.2f}" for role, used in cpu.most_common())
    notes.insert(0, f"CPU-s per 1,000 nodes: {parts}")
    return Outcome(metrics, notes)


def _run(server: Server, system: System, bench: str, count: int) -> Run:
    system.prepare(bench, count)
    server.checkpoint()
    calls = system.ray_calls()
    cpu = server.cpu() + system.cpu()
    wal = server.wal_bytes()
    began = time.perf_counter()
    system.run(bench, count)
    wall = time.perf_counter() - began
    wal = server.wal_bytes() - wal
    used = server.cpu() + system.cpu()
    used.subtract(cpu)
    later = system.ray_calls()
    # Last, since reading the results writes WAL too, with checksums: the first reader of a page marks its rows.
    span = system.span(bench, count)
    return Run(
        span.ended - span.began,
        wall,
        wal,
        +used,
        None if calls is None or later is None else later - calls,
    )
