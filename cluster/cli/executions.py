"""dray submit, dray executions: start executions, look at them, stop them."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dray.cluster.cli.base import (
    Exit,
    Stop,
    json_value,
    labels_of,
    open_client,
    put,
    put_json,
    put_table,
    shown,
    span_given,
)
from dray.plain import visible
from dray.store.records import ExecutionStatus

if TYPE_CHECKING:
    from dray.store.client.client import Attempt, Execution

app = typer.Typer(help="Look at executions and stop them.", no_args_is_help=True, rich_markup_mode=None)

Id = Annotated[str, typer.Argument(metavar="ID", help="As `dray submit` prints it.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="name=value, as often as you like.")]
Statuses = Annotated[list[str] | None, typer.Option("--status", help="Only with this one, as often as you like.")]
Reason = Annotated[str | None, typer.Option(help="Why it is cancelled; kept, and shown with it.")]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who asks, where one database role is many people.")]
SHOWN = 300  # characters of a value
PRIORITY = re.compile(r"\s*(?:low|normal|high|critical|[-+]?[0-9]{1,4})\s*", re.IGNORECASE)  # as dray.priority


def submit(
    workflow: Annotated[str, typer.Argument(metavar="NAME", help="Of the workflow.")],
    given: Annotated[str, typer.Option("--input", help="JSON, @file, or - for stdin.")] = "{}",
    priority: Annotated[
        str | None, typer.Option(help="low, normal, high, critical or a number. [default: the input's, else normal]")
    ] = None,
    queue: Annotated[str, typer.Option(help="Which drivers run it.")] = "default",
    run_at: Annotated[datetime | None, typer.Option(help="Not before, e.g. 2030-01-31T08:00:00; local time.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again makes no second execution.")] = None,
    idempotency_window: Annotated[
        str, typer.Option(metavar="AGE", help="After that the key makes a new one, e.g. 30m, 7d; never: never.")
    ] = "24h",
    label: Labels = None,
    tenant: Annotated[str | None, typer.Option(help="Whose turn it is. [default: as the workflow says]")] = None,
    concurrency_key: Annotated[
        str | None, typer.Option(help="Of the limit per key. [default: as the workflow says]")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended; print its output.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds that --wait waits at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start an execution and print its id; with --wait its output, and exit with 1 if it did not complete."""
    if timeout is not None and not wait:
        raise Stop("--timeout is of --wait: give both, or neither")
    if priority is not None and not PRIORITY.fullmatch(priority):
        raise Stop(
            f"--priority {priority!r} is none of low, normal, high, critical, and no number of up to four digits"
        )
    window = None if idempotency_window == "never" else span_given(idempotency_window, "--idempotency-window")
    value = json_value(given, "--input")
    labels = labels_of(label or ())
    with open_client() as client:
        execution_id = client.submit(
            workflow,
            value,
            priority=priority,
            queue=queue,
            run_at=run_at.astimezone() if run_at else None,
            idempotency_key=idempotency_key,
            idempotency_window=window,
            labels=labels,
            tenant=tenant,
            concurrency_key=concurrency_key,
        )
        if not wait:
            put_json({"id": execution_id}) if as_json else put(execution_id)
            return
        put_end(client.wait(execution_id, timeout), as_json)


def put_end(found: Execution, as_json: bool) -> None:
    """Of one that has ended; a failure where it did not complete."""
    if as_json:
        put_json(asdict(found))
    elif found.status == ExecutionStatus.COMPLETED:
        put_json(found.output)
    if found.status != ExecutionStatus.COMPLETED:
        raise Stop(f"execution {found.id} {_ending(found)}", Exit.FAILED)


@app.command("list")
def list_(
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    status: Statuses = None,
    label: Labels = None,
    queue: Annotated[str | None, typer.Option(help="Only in this queue.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Submitted at or after this local time.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Submitted before this local time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Older than this one, to go on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Executions, the newest first."""
    check_statuses(status)
    labels = labels_of(label or ())
    with open_client() as client:
        found = client.list(workflow, status or None, labels, limit, before, queue=queue, since=since, until=until)
    if as_json:
        put_json([asdict(each) for each in found])
        return
    rows = [
        (each.id, each.status, each.created_at, _seconds(each), f"{each.workflow} {each.version}") for each in found
    ]
    put_table("", ("id", "status", "submitted", "seconds", "workflow"), rows)


@app.command()
def show(execution: Id, as_json: AsJson = False) -> None:
    """One execution, with every attempt of every node."""
    with open_client() as client:
        found = client.get(execution)
        attempts = client.attempts(execution)
        held_by = client.held_by(execution) if found.status == ExecutionStatus.QUEUED else []
    if as_json:
        put_json({**asdict(found), "held_by": held_by, "attempts": [asdict(each) for each in attempts]})
        return
    for name, value in asdict(found).items():
        if name == "cancelled_by" and value:
            put(f"{'cancelled by':<14}{_asker(value, execution)}")
        elif value not in (None, {}, []):
            put(f"{name:<14}{_short(value)}")
    if held_by:
        put(f"{'held by':<14}{'; '.join(held_by)}")
    if attempts:
        put()
        rows = [
            (f"{each.at.astimezone():%H:%M:%S}", each.node_key, each.attempt, each.kind, each.duration_ms,
             each.runner and f"{each.runner}, process {each.pid}", _outcome(each))
            for each in attempts
        ]  # fmt: skip
        put_table("", ("at", "node", "attempt", "", "ms", "runner", "outcome"), rows)
    for each in attempts:
        if trace := _trace(each):
            put(f"\n{visible(each.node_key)}, attempt {each.attempt}:\n{trace}")


@app.command()
def cancel(execution: Id, reason: Reason = None, by: By = None, as_json: AsJson = False) -> None:
    """Stop an execution, and those that it waits for. What runs is told to stop; nothing more of it is started."""
    with open_client() as client:
        status = client.cancel(execution, reason, by=by)
    if status not in ("cancelled", "cancelling"):
        raise Stop(f"execution {execution} has {status}: there is nothing to cancel", Exit.FAILED)
    if as_json:
        put_json({"id": execution, "status": status})
    else:
        put(f"{execution} {status}")


def check_statuses(given: list[str] | None) -> None:

    known = [each.value for each in ExecutionStatus]
    for each in given or ():
        if each not in known:
            raise Stop(f"--status {each!r} is none of {', '.join(known)}")


def _trace(attempt: Attempt) -> str | None:
    """Of one that failed by an exception of its handler."""
    failed = attempt.kind in ("failed", "retried") and isinstance(attempt.outcome, dict)
    return attempt.outcome.get("trace") if failed else None


def _outcome(attempt: Attempt) -> str:
    outcome = attempt.outcome
    return _short({**outcome, "trace": "below"} if _trace(attempt) else outcome)


def _short(value: object) -> str:
    text = shown(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"


def _ending(found: Execution) -> str:
    error = found.error or {}
    where = f" at node {error['node']!r}" if error.get("node") else ""
    why = f": {error.get('type')}: {error.get('message')}" if error else ""
    return visible(f"{found.status}{where}{why}")


def _asker(given: dict[str, Any], execution: str) -> str:
    """Execution.cancelled_by in a line."""
    who = f"{given['by']}, as role {given['role']}" if given["by"] else f"role {given['role']}"
    along = "" if given["execution"] == execution else f", with execution {given['execution']}"
    return f"{who}, at {given['at']}{along}" + (f": {_short(given['reason'])}" if given["reason"] else "")


def _seconds(found: Execution) -> float | None:
    if found.started_at is None or found.finished_at is None:
        return None
    return round((found.finished_at - found.started_at).total_seconds(), 3)
