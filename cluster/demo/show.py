"""The demo from start to summary, told on the terminal; into a pipe the same as plain lines."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dray.cluster import logs
from dray.cluster.demo import proof
from dray.cluster.demo.service import Effects, Service
from dray.cluster.demo.work import Driver, Progress, Watch, kill, temporary_database, wait_until
from dray.cluster.graph.files import canonical_graph
from dray.store.client.client import Client

HERE = Path(__file__).parent
START_SECONDS = 120.0
RUN_SECONDS = 600.0
HEIR_SECONDS = 60.0
SAY_EVERY = 2.0  # seconds, into a pipe

console = Console(highlight=False)


def run(executions: int) -> int:
    """The exit code: 0 if everything was proved."""
    began = time.monotonic()
    logs.setup("ERROR")
    for each in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C does: everything that was started is ended
        signal.signal(each, signal.default_int_handler)
    graph = canonical_graph(json.loads((HERE / "workflow.json").read_text()))
    orders = list(islice(cycle(json.loads((HERE / "orders.json").read_text())), executions))
    console.print("[bold]Dray demo[/]: an order desk, and one of its runners is killed half-way.\n")
    with Service() as service, _step("Postgres in a temporary folder") as done, temporary_database() as (folder, url):
        done("started, schema in place")
        with Client(url) as client:
            with _step("workflow `orders`") as done:
                _, version, _ = client.apply_workflow("orders", graph)
                done(f"version {version} stored: {len(graph['nodes'])} nodes, {len(graph['edges'])} edges")
            with _step(f"{executions:,} executions") as done:
                ids = client.submit_many("orders", [{**order, "service": service.url} for order in orders])
                done("submitted, one for each order of the file")
        driver = Driver(url, folder / "worker.log")
        watch = Watch(url)
        try:
            killed = _work(driver, watch, service.effects)
            last = watch.progress()
        finally:
            driver.stop()
            watch.close()
        found = proof.read(url)
        checks = proof.checks(dict(zip(ids, orders, strict=True)), found, service.effects, killed)
        if driver.ended != 0 or last.finished < last.submitted:
            checks.append(proof.Check(False, "the driver did its work", f"exit {driver.ended}: {driver.last_line()}"))
        return _summary(checks, example=found.outputs.get(ids[0]), seconds=time.monotonic() - began)


def _work(driver: Driver, watch: Watch, effects: Effects) -> int | None:
    """Lets the driver work; the process number of the runner that was killed half-way."""
    with _step("driver and Ray") as done:
        while not (runners := watch.runners()) and driver.ended is None:
            time.sleep(0.1)
        done(", ".join(f"{name} (process {pid})" for name, pid in runners) or driver.last_line())
    with _shown(effects) as show:
        for progress in wait_until(0.5, watch, driver, RUN_SECONDS):
            show(progress)
        victim = next(iter(watch.runners()), None)
        if victim is not None and driver.ended is None and progress.finished < progress.submitted:
            kill(victim[1])
            show(progress, f"SIGKILL to {victim[0]} (process {victim[1]})")
        else:
            victim = None
        for progress in wait_until(1.0, watch, driver, RUN_SECONDS):
            show(progress)
    if victim is not None:
        _await_heir(watch, driver, victim[1])
    return None if victim is None else victim[1]


def _await_heir(watch: Watch, driver: Driver, victim: int) -> None:
    """The work may be done before a new runner has started, which takes Ray some seconds on a busy machine."""
    until = time.monotonic() + HEIR_SECONDS
    while not watch.replaced(victim) and driver.ended is None and time.monotonic() < until:
        time.sleep(0.1)


@contextmanager
def _step(what: str) -> Iterator[Any]:
    """A line for something that takes a moment. done(text) completes it."""
    began = time.monotonic()
    if console.is_terminal:
        console.print(f"  [dim]..[/] {what}", end="\r")

    def done(text: str) -> None:
        console.print(f"  [green]ok[/] {what}: {text} [dim]({time.monotonic() - began:.1f} s)[/]")

    yield done


@contextmanager
def _shown(effects: Effects) -> Iterator[Any]:
    """show(progress, event=""): as a live table, or every two seconds as a line."""
    began = time.monotonic()
    events: list[str] = []
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8, transient=False) as live:

            def draw(progress: Progress, event: str = "") -> None:
                events.extend([event] if event else [])
                live.update(_table(progress, effects, events, time.monotonic() - began))

            yield draw
        return
    said = -SAY_EVERY

    def say(progress: Progress, event: str = "") -> None:
        nonlocal said
        now = time.monotonic() - began
        if event or now - said >= SAY_EVERY or progress.finished == progress.submitted:
            said = now
            requests, _, made = effects.counts()
            line = f"{progress.finished:,} of {progress.submitted:,} executions, {progress.nodes:,} nodes recorded"
            line = f"  {now:5.1f} s  {line}, {requests:,} requests, {made:,} effects  {event}"
            console.print(Text(line.rstrip()), soft_wrap=True)

    yield say


def _table(progress: Progress, effects: Effects, events: list[str], seconds: float) -> Group:
    requests, busy, made = effects.counts()
    table = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=progress.submitted, completed=progress.finished, width=40)
    table.add_row("  executions", bar, f"{progress.finished:,} of {progress.submitted:,}   [dim]{seconds:.1f} s[/]")
    table.add_row("", f"{progress.running:,} running, {progress.waiting:,} parked, {progress.failed:,} failed")
    table.add_row("  nodes", f"{progress.nodes:,} recorded")
    table.add_row("  service", f"{requests:,} requests, {busy:,} answered 503, {made:,} effects made")
    lines = [Text(f"  {event}", style="bold red") for event in events]
    return Group(Text(), table, *lines, Text())


def _summary(checks: list[proof.Check], example: Any, seconds: float) -> int:
    console.print("\n[bold]What the database and the service say[/]")
    for check in checks:
        mark = {True: "[green]yes[/]", False: "[bold red]NO [/]", None: "   "}[check.good]
        console.print(f"  {mark} ", end="")
        console.print(Text(f"{check.what}: {check.found}"), soft_wrap=True)
    result = (example or {}).get("value") if isinstance(example, dict) else None
    console.print("      ", end="")
    console.print(Text(f"the first result: {json.dumps(result)}"), soft_wrap=True)
    good = all(check.good is not False for check in checks)
    console.print(
        f"\n{'[green]All of it adds up[/]' if good else '[bold red]It does not add up[/]'}, in {seconds:.0f} s."
    )
    return 0 if good else 1
