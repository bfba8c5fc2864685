"""Who is measured, and in which order.

The speed of a shared machine drifts by a factor of two within minutes, and a ratio taken across a drift misleads. So
with several systems everything is done in three passes, each with all systems one after the other: their medians are
then taken over the same minutes. One system at a time lives, since an idle one takes some of the two cores too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from statistics import median

from rich.console import Console

from benchmarks.dray_system import Dray
from benchmarks.figures import Figures
from benchmarks.measure import AMOUNTS, LOADS, Amount, Outcome, measure
from benchmarks.report import number
from benchmarks.server import Server, probe
from benchmarks.systems import Peer, System, SystemFailed

PASSES = 3

Start = Callable[[Server], System]

# System -> its variants, each with what starts it.
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
# By which metric the better variant is chosen. The others are measured on the first variant only.
CHOICE = {"W1": "executions_per_s", "W10": "nodes_per_s", "WIDE": "nodes_per_s"}


class Contest:
    """All runs of one invocation. benches: only these, all if empty. quick: a fifth of the work, once."""

    def __init__(
        self,
        server: Server,
        figures: Figures,
        console: Console,
        *,
        benches: Sequence[str],
        quick: bool,
        statements: bool,
    ) -> None:
        self._server, self._figures, self._console = server, figures, console
        self._benches, self._quick, self._statements = benches, quick, statements
        self._found: dict[tuple[str, str, str], Outcome] = {}
        self.failed = False

    def run(self, systems: Sequence[str]) -> None:
        passes = PASSES if len(systems) > 1 and not self._quick else 1
        for turn in range(passes):
            for system in systems:
                for variant in SYSTEMS[system]:
                    heading = f"{system} {variant}".strip()
                    self._console.print(f"[bold]{heading}[/]  [dim]pass {turn + 1} of {passes}: {probe()}[/]")
                    try:
                        self._measure(system, variant, passes)
                    except SystemFailed as error:
                        self._console.print(f"[red]{heading} failed:[/] {error}")
                        self.failed = True
                self._record(system)

    def _measure(self, system: str, variant: str, passes: int) -> None:
        first = variant == next(iter(SYSTEMS[system]))
        with closing(SYSTEMS[system][variant](self._server)) as running:
            for bench, amount in AMOUNTS[system].items():
                if (self._benches and bench not in self._benches) or not (first or bench in CHOICE):
                    continue
                outcome = measure(self._server, running, bench, self._amount(amount, passes))
                self._tell(bench, outcome)
                earlier = self._found.get((system, bench, variant))
                self._found[system, bench, variant] = outcome if earlier is None else earlier.joined(outcome)

    def _record(self, system: str) -> None:
        """The better variant's figures, of all passes so far."""
        for bench in AMOUNTS[system]:
            variants = {each[2]: self._found[each] for each in self._found if each[:2] == (system, bench)}
            if not variants:
                continue
            better = next(iter(variants))
            if len(variants) > 1:
                better = max(variants, key=lambda each: median(variants[each].metrics[CHOICE[bench]]))
                self._console.print(f"  [dim]{bench}: {better} is better so far[/]")
            for metric, runs in variants[better].metrics.items():
                self._figures.add(bench, system, metric, runs)

    def _amount(self, amount: Amount, passes: int) -> Amount:
        if self._quick:
            return Amount(max(1, amount.count // 5), 1)
        return amount._replace(runs=-(-amount.runs // passes))

    def _tell(self, bench: str, outcome: Outcome) -> None:
        metric = CHOICE.get(bench, "latency_p50_ms")
        runs = outcome.metrics[metric]
        self._console.print(f"  {bench:<6}{metric}: {number(median(runs))}   [dim]{'  '.join(map(number, runs))}[/]")
        if bench in LOADS:
            for note in outcome.notes if self._statements else outcome.notes[:1]:
                self._console.print(f"        {note}", style="dim", markup=False, no_wrap=True, overflow="ellipsis")
