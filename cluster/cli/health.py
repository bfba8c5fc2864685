"""dray health, dray runners: how the driver on this machine is, and what its runners do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dray.cluster.cli.base import Exit, Stop, put, put_json, put_table, settings_for, span_given

if TYPE_CHECKING:
    from dray.cluster.health.monitoring import Bounded
    from dray.cluster.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


def health(
    live: Annotated[
        bool, typer.Option("--live", help="Would a restart help? Good while it starts and drains.")
    ] = False,
    ready: Annotated[bool, typer.Option("--ready", help="Does it take work? Not while it starts or drains.")] = False,
    as_json: AsJson = False,
) -> None:
    """Whether the driver on this machine is well: one line, and exit code 0 or 1. Asks no database."""
    from dray.cluster.health import file
    from dray.cluster.health import judge as deciding

    if live and ready:
        raise Stop("--live and --ready are two questions: ask one")
    settings = settings_for()
    question: deciding.Question = "live" if live else "ready" if ready else "well"
    reports = file.read(settings.health_file)
    now = time.monotonic()
    seen: list[dict[str, Any] | None] = [*reports] or [None]
    verdicts = [deciding.judge(each, now, settings.stuck_after) for each in seen]
    found = deciding.worst(verdicts, question)
    if as_json:
        put_json({"state": found.state, "reason": found.reason, "good": found.answers(question)})
    else:
        put(f"{found.state}: {found.reason}")
    if not found.answers(question):
        raise typer.Exit(Exit.FAILED)


def runners(as_json: AsJson = False) -> None:
    """The runners of the driver on this machine: process, Ray node, and the nodes that each runs since when."""
    from dray.cluster.health import file

    reports = file.read(settings_for().health_file)
    if not reports:
        raise Stop("no driver runs here: ask where `dray worker` runs", Exit.NOT_FOUND)
    now = time.monotonic()
    found = [_runner(each, report, now) for report in reports for each in report.get("runners", ())]
    if as_json:
        put_json(found)
        return
    rows = []
    for each in found:
        head = (each["runner"], each["state"], each["host"], each["pid"], each["ray_node"][:12], each["nodes"])
        doing = each["doing"] or [{"seconds": None, "execution": None, "node": None}]
        rows += [(*head, one["seconds"], one["execution"], one["node"]) for one in doing]
    put_table("", ("runner", "", "host", "process", "ray node", "nodes", "since, s", "execution", "node"), rows)


def bounded(settings: Settings, drain: bool, max_runtime: str | None) -> Bounded:
    """When `dray worker` ends by itself, as its options say."""
    from dray.cluster.health.monitoring import MARGIN, Bounded

    if max_runtime is None:
        return Bounded(drain)
    seconds = span_given(max_runtime, "--max-runtime").total_seconds()
    least = settings.drain_timeout + MARGIN
    if seconds <= least:
        raise Stop(
            f"--max-runtime {max_runtime}: DRAY_DRAIN_TIMEOUT ({settings.drain_timeout:g} s) and {MARGIN:g} s to end "
            f"are part of it; give more than {least:g} s, or a shorter DRAY_DRAIN_TIMEOUT"
        )
    return Bounded(drain, time.monotonic() + seconds)


def _runner(runner: dict[str, Any], report: dict[str, Any], now: float) -> dict[str, Any]:
    doing = [
        {"execution": execution, "node": node, "attempt": attempt, "seconds": round(max(0.0, now - since))}
        for execution, node, attempt, since in runner["doing"]
    ]
    return {**runner, "driver": report["incarnation"], "doing": doing}
