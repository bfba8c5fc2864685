"""`python -m benchmarks [run|peers|claim|soak]`; README.md says what each is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import closing

from rich.console import Console

from benchmarks import claim, soak
from benchmarks.dray_system import Dray
from benchmarks.figures import RESULTS, Figures
from benchmarks.measure import AMOUNTS, LOADS, Amount, Outcome, measure, record
from benchmarks.report import number, show
from benchmarks.server import Server, probe
from benchmarks.systems import Peer, System, SystemFailed, peers_missing

# The metric by which the better of one and two processes is chosen.
CHOICE = {"W1": "executions_per_s", "W10": "nodes_per_s", "WIDE": "nodes_per_s"}

Start = Callable[[Server], System]

# System -> its variants, each with what starts it. Latencies are measured on the first only.
SYSTEMS: dict[str, dict[str, Start]] = {
    "dray": {"": Dray},
    "dbos": {
        "1 process": lambda server: Peer(server, "dbos", 1),
        "2 processes": lambda server: Peer(server, "dbos", 2),
    },
    "pgqueuer": {
        "1 process": lambda server: Peer(server, "pgqueuer", 1),
        "2 processes": lambda server: Peer(server, "pgqueuer", 2),
    },
    "temporal": {"": lambda server: Peer(server, "temporal", 1, on_server=False)},
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast Dray is, and what it costs.")
    parser.add_argument("what", nargs="?", default="run", choices=("run", "peers", "claim", "soak"))
    parser.add_argument("--bench", action="append", help="only this one, e.g. W10; may be repeated")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, once: to see that it runs")
    parser.add_argument("--statements", action="store_true", help="show the most frequent SQL statements")
    given = parser.parse_args(arguments)
    console = Console(highlight=False)
    systems = given.system or (list(SYSTEMS) if given.what == "peers" else ["dray"])
    if set(systems) - {"dray"} and (missing := peers_missing()):
        console.print(missing)
        return 2
    figures = Figures(fresh=given.what in ("run", "peers"))
    failed = False
    with Server() as server:
        console.print("  ".join(f"{name}={value}" for name, value in server.settings().items()))
        if given.what == "claim":
            claim.measure(server, figures, quick=given.quick)
        elif given.what == "soak":
            soak.measure(server, figures, console, quick=given.quick)
        else:
            for system in systems:
                failed |= not _measure(server, figures, console, system, given)
    show(figures, console)
    console.print(f"[dim]{RESULTS}[/]")
    return int(failed)


def _measure(server: Server, figures: Figures, console: Console, system: str, given: argparse.Namespace) -> bool:
    """All benchmarks of one system, on the better of its variants. False: something failed; what was found stands."""
    best: dict[str, tuple[str, Outcome]] = {}
    whole = True
    for variant, start in SYSTEMS[system].items():
        console.print(f"[bold]{system}[/] {variant}  [dim]{probe()}[/]")
        try:
            with closing(start(server)) as running:
                for bench, amount in AMOUNTS[system].items():
                    first = variant == next(iter(SYSTEMS[system]))
                    if (given.bench and bench not in given.bench) or not (first or bench in CHOICE):
                        continue
                    outcome = measure(server, running, bench, _amount(amount, given.quick))
                    _tell(console, bench, outcome, statements=given.statements)
                    if bench not in best or outcome.median(CHOICE[bench]) > best[bench][1].median(CHOICE[bench]):
                        best[bench] = variant, outcome
        except SystemFailed as error:
            console.print(f"[red]{system} failed:[/] {error}")
            whole = False
    for bench, (_, outcome) in best.items():
        record(figures, system, bench, outcome)
    if len(SYSTEMS[system]) > 1:
        console.print("  better: " + ", ".join(f"{bench} {variant}" for bench, (variant, _) in best.items() if variant))
    return whole


def _amount(amount: Amount, quick: bool) -> Amount:
    return Amount(max(1, amount.count // 5), 1) if quick else amount


def _tell(console: Console, bench: str, outcome: Outcome, *, statements: bool) -> None:
    metric = CHOICE.get(bench, "latency_p50_ms")
    runs = "  ".join(number(each) for each in outcome.metrics[metric])
    console.print(f"  {bench:<6}{metric}: {number(outcome.median(metric))}   [dim]{runs}[/]")
    if bench in LOADS:
        for note in outcome.notes if statements else outcome.notes[:1]:
            console.print(f"        {note}", style="dim", markup=False, no_wrap=True, overflow="ellipsis")


if __name__ == "__main__":
    sys.exit(main())
