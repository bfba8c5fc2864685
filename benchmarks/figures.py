"""Figures: what they are called, and the file that they go to, one JSON line each.

    {"bench": "W10", "system": "dray", "metric": "nodes_per_s", "value": 9100.0, "unit": "1/s", "runs": [..]}

value is the median of runs; a figure that is counted in one run has one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

OUT = Path(__file__).parent / "out"
RESULTS = OUT / "results.jsonl"

UNITS = {
    "nodes_per_s": "1/s",
    "executions_per_s": "1/s",
    "seconds": "s",
    "tx_per_node": "1",
    "statements_per_node": "1",
    "wal_bytes_per_node": "B",
    "ray_calls_per_node": "1",
    "cpu_s_per_1000_nodes": "s",
    "latency_p50_ms": "ms",
    "latency_p99_ms": "ms",
    "claim_ms": "ms",
    "claim_buffers": "1",
    "claim_ratio": "1",
    "driver_growth_mb": "MB",
    "driver_rss_mb": "MB",
}


class Figure(NamedTuple):
    """value: median of runs, in `unit`. The fields are those of the JSON line."""

    bench: str
    system: str
    metric: str
    value: float
    unit: str
    runs: list[float]


class Figures:
    """All figures of one invocation, written as they come. fresh: the file begins anew; else only the lines of the
    benchmarks that are measured again are replaced."""

    def __init__(self, *, fresh: bool, file: Path = RESULTS) -> None:
        self._file = file
        self._found: dict[tuple[str, str, str], Figure] = {}
        self._kept: list[Figure] = []
        if not fresh and file.exists():
            self._kept = [Figure(**json.loads(line)) for line in file.read_text().splitlines()]

    def add(self, bench: str, system: str, metric: str, runs: Sequence[float]) -> None:
        """One figure; its value is the median. A second one of the same name takes the place of the first."""
        rounded = [float(f"{each:.6g}") for each in runs]
        found = Figure(bench, system, metric, float(f"{median(runs):.6g}"), UNITS[metric], rounded)
        self._found[bench, system, metric] = found
        self._kept = [each for each in self._kept if each.bench != bench]
        self._write()

    def value(self, bench: str, system: str, metric: str) -> float | None:
        found = self._found.get((bench, system, metric))
        return None if found is None else found.value

    def runs(self, bench: str, system: str, metric: str) -> list[float]:
        found = self._found.get((bench, system, metric))
        return [] if found is None else found.runs

    def benches(self) -> list[str]:
        return list(dict.fromkeys(each.bench for each in self._found.values()))

    def systems(self, bench: str) -> list[str]:
        return list(dict.fromkeys(each.system for each in self._found.values() if each.bench == bench))

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        every = [*self._kept, *self._found.values()]
        self._file.write_text("".join(json.dumps(each._asdict()) + "\n" for each in every))
