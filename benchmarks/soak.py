"""Does the driver's memory grow? 1,000,000 nodes through one driver, executions of 10 in a line, as fast as they go."""

from __future__ import annotations

import time
from contextlib import closing
from statistics import median
from typing import NamedTuple

from rich.console import Console

from benchmarks.dray_system import Dray
from benchmarks.figures import Figures
from benchmarks.measure import NODES
from benchmarks.processes import resident_mb
from benchmarks.server import Server

BENCH = "W10"
EXECUTIONS = 100_000
# Submitted at once, when fewer than that are queued.
CHUNK = 2_000
SAMPLE_SECONDS = 0.5
# Of all nodes: until then buffers and caches may fill.
WARM_UP = 0.2


class Sample(NamedTuple):
    nodes: int
    megabytes: float


def measure(server: Server, figures: Figures, console: Console, *, quick: bool) -> None:
    executions = EXECUTIONS // 20 if quick else EXECUTIONS
    with closing(Dray(server)) as dray:
        began = time.perf_counter()
        samples = _run(dray, executions)
        seconds = time.perf_counter() - began
    for tenth in range(1, 11):
        reached = [each for each in samples if each.nodes <= executions * NODES[BENCH] * tenth / 10]
        console.print(f"  {tenth * 10:>3} %  {reached[-1].nodes:>9,} nodes  driver {reached[-1].megabytes:.1f} MB")
    figures.add("SOAK", "dray", "nodes_per_s", [executions * NODES[BENCH] / seconds])
    figures.add("SOAK", "dray", "driver_rss_mb", [samples[-1].megabytes])
    figures.add("SOAK", "dray", "driver_growth_mb", [growth(samples)])


def growth(samples: list[Sample]) -> float:
    """Megabytes from the tenth after the warm-up to the last tenth, each the median of its samples."""
    last = samples[-1].nodes

    def tenth(first: float) -> float:
        return median([each.megabytes for each in samples if first <= each.nodes / last <= first + 0.1])

    return tenth(0.9) - tenth(WARM_UP)


def _run(dray: Dray, executions: int) -> list[Sample]:
    samples = [Sample(0, resident_mb(dray.pid))]
    submitted = 0
    while True:
        queued, running = dray.unfinished()
        samples.append(Sample((submitted - queued - running) * NODES[BENCH], resident_mb(dray.pid)))
        if submitted == executions and not queued + running:
            return samples
        if queued < CHUNK and submitted < executions:
            count = min(CHUNK, executions - submitted)
            dray.submit(BENCH, count)
            submitted += count
        else:
            time.sleep(SAMPLE_SECONDS)
