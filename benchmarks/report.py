"""The table for people: figures side by side, ratios, and what was to be reached."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.figures import UNITS, Figures
from benchmarks.measure import LOADS

BENCHES = {
    "W1": "W1, executions of 1 node",
    "W10": "W10, executions of 10 nodes in a line",
    "WIDE": "WIDE, 1,000 nodes at once, submit to completed",
    "LAT1": "LAT1, 1 node, submit to completed, idle",
    "LAT10": "LAT10, 10 nodes in a line, submit to completed, idle",
    "CLAIM_1K": "CLAIM_1K, claiming 100 executions of 1,000 queued",
    "CLAIM_1M": "CLAIM_1M, claiming 100 executions of 1,000,000 queued",
    "CLAIM": "CLAIM, the time with 1,000,000 to that with 1,000",
    "SOAK": "SOAK, the driver's memory over 1,000,000 nodes",
}


class Target(NamedTuple):
    """What is to be reached. peer: the value is the ratio to that system's. at_least: else at most."""

    what: str
    bench: str
    metric: str
    limit: float
    at_least: bool = False
    peer: str | None = None


TARGETS = (
    Target("W10 nodes/s, times DBOS", "W10", "nodes_per_s", 15, at_least=True, peer="dbos"),
    Target("W1 executions/s, times DBOS", "W1", "executions_per_s", 10, at_least=True, peer="dbos"),
    Target("W1 executions/s, times pgqueuer", "W1", "executions_per_s", 0.3, at_least=True, peer="pgqueuer"),
    Target("WIDE seconds", "WIDE", "seconds", 0.5),
    Target("W10 transactions per node", "W10", "tx_per_node", 0.03),
    Target("W10 WAL bytes per node", "W10", "wal_bytes_per_node", 450),
    Target("LAT1 p50 ms", "LAT1", "latency_p50_ms", 10),
    Target("LAT10 p50 ms", "LAT10", "latency_p50_ms", 45),
    Target("CLAIM time, 1,000,000 queued / 1,000", "CLAIM", "claim_ratio", 1.5),
    Target("SOAK growth of the driver after warm-up, MB", "SOAK", "driver_growth_mb", 5),
)


def show(figures: Figures, console: Console) -> None:
    for bench in figures.benches():
        console.print(f"\n[bold]{BENCHES[bench]}[/]")
        console.print(_table(figures, bench))
    targets = _targets(figures)
    if targets.row_count:
        console.print("\n[bold]To be reached[/]")
        console.print(targets)


def _table(figures: Figures, bench: str) -> Table:
    systems = figures.systems(bench)
    peers = [each for each in systems if each != "dray"] if "dray" in systems else []
    table = Table()
    table.add_column("metric", no_wrap=True)
    for system in systems:
        table.add_column(system, justify="right")
    for peer in peers:
        table.add_column(f"dray / {peer}", justify="right")
    for metric in UNITS:
        values = [figures.value(bench, system, metric) for system in systems]
        if not any(value is not None for value in values):
            continue
        row = [_spread(figures, bench, system, metric) for system in systems]
        row += [_ratio(figures, bench, metric, peer) for peer in peers]
        table.add_row(metric, *row)
    return table


def _spread(figures: Figures, bench: str, system: str, metric: str) -> str:
    """The value, and lowest and highest run where there are several."""
    value, runs = figures.value(bench, system, metric), figures.runs(bench, system, metric)
    if value is None:
        return ""
    spread = f"  [dim]{number(min(runs))} .. {number(max(runs))}[/]" if len(runs) > 1 else ""
    return f"{number(value)}{spread}"


def _ratio(figures: Figures, bench: str, metric: str, peer: str) -> str:
    ours, theirs = figures.value(bench, "dray", metric), figures.value(bench, peer, metric)
    # The loads are of different size, so that each takes a few seconds; their seconds say nothing to each other.
    incomparable = metric == "seconds" and bench in LOADS
    return "" if ours is None or not theirs or incomparable else f"{number(ours / theirs)}x"


def _targets(figures: Figures) -> Table:
    table = Table()
    table.add_column("what", no_wrap=True)
    table.add_column("asked", justify="right")
    table.add_column("found", justify="right")
    table.add_column("")
    for target in TARGETS:
        found = figures.value(target.bench, "dray", target.metric)
        against = figures.value(target.bench, target.peer, target.metric) if target.peer else 1.0
        if found is None or not against:
            continue
        value = found / against
        met = value >= target.limit if target.at_least else value <= target.limit
        sign = ">=" if target.at_least else "<="
        mark = "[green]met[/]" if met else "[red]NOT MET[/]"
        table.add_row(target.what, f"{sign} {target.limit:g}", number(value), mark)
    return table


def number(value: float) -> str:
    """Three digits that matter, thousands with commas."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
