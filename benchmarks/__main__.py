"""`python -m benchmarks [run|peers|claim|soak]`; README.md says what each is."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from rich.console import Console

from benchmarks import claim, soak
from benchmarks.contest import SYSTEMS, Contest
from benchmarks.figures import RESULTS, Figures
from benchmarks.report import BENCHES, show
from benchmarks.server import Server
from benchmarks.systems import SystemFailed, peers_missing


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast Dray is, and what it costs.")
    parser.add_argument("what", nargs="?", default="run", choices=("run", "peers", "claim", "soak"))
    parser.add_argument("--bench", action="append", choices=BENCHES, help="only this one, e.g. W10; may be repeated")
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
    # Else the server and the measured processes would outlive this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Server() as server:
            console.print("  ".join(f"{name}={value}" for name, value in server.settings().items()))
            if given.what == "claim":
                claim.measure(server, figures, quick=given.quick)
            elif given.what == "soak":
                soak.measure(server, figures, console, quick=given.quick)
            else:
                contest = Contest(
                    server, figures, console, benches=given.bench or (), quick=given.quick, statements=given.statements
                )
                contest.run(systems)
                failed = contest.failed
    except SystemFailed as error:
        console.print(f"[red]failed:[/] {error}")
        failed = True
    show(figures, console)
    console.print(f"[dim]{RESULTS}[/]")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
