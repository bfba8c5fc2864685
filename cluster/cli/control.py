"""dray pause, resume, retry, rerun, bulk, prune: hold executions, let them go on, run them again, delete them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dray.cluster.cli.base import Exit, Stop, json_value, labels_of, open_client, put, put_json, span_given
from dray.cluster.cli.executions import AsJson, By, Id, Labels, Reason, Statuses, check_statuses, put_end
from dray.store.records import FINAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from dray.store.client.client import Client

Wait = Annotated[bool, typer.Option("--wait", help="Until it has ended; print its output.")]
Latest = Annotated[
    bool, typer.Option("--latest", help="In the latest version; what has run must stand in that at the same place.")
]
ENDS = tuple(sorted(FINAL))
ACTIONS = ("cancel", "pause", "resume", "retry")


def pause(execution: Id, as_json: AsJson = False) -> None:
    """Hold an execution. What runs of it is finished and recorded; nothing more of it is started."""
    with open_client() as client:
        _tell(execution, client.pause(execution), ("paused", "pausing"), "pause", as_json)


def resume(execution: Id, as_json: AsJson = False) -> None:
    """Let an execution that was paused go on."""
    with open_client() as client:
        _tell(execution, client.resume(execution), ("queued", "waiting", "running"), "resume", as_json)


def retry(execution: Id, latest: Latest = False, wait: Wait = False, as_json: AsJson = False) -> None:
    """Go on with a failed or cancelled execution from what failed, in a new execution; print the id of that."""
    _again(lambda client: client.retry(execution, latest=latest), execution, wait, as_json)


def rerun(
    execution: Id,
    from_node: Annotated[str, typer.Option("--from", metavar="NODE", help="It runs again, and all that follows it.")],
    given: Annotated[
        str | None, typer.Option("--input", help="JSON, @file, or - for stdin. [default: the earlier one's]")
    ] = None,
    latest: Latest = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Run a part of an execution that has ended again, in a new execution; print the id of that."""
    value = None if given is None else json_value(given, "--input")
    _again(lambda client: client.rerun(execution, from_node, value, latest=latest), execution, wait, as_json)


def bulk(
    action: Annotated[str, typer.Argument(metavar="ACTION", help=", ".join(ACTIONS))],
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    status: Statuses = None,
    label: Labels = None,
    queue: Annotated[str | None, typer.Option(help="Only in this queue.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Submitted longer ago than e.g. 90s, 30m, 2h, 7d.")
    ] = None,
    latest: Annotated[
        bool, typer.Option("--latest", help="Retry in the latest version; what does not fit in that is left alone.")
    ] = False,
    reason: Reason = None,
    by: By = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Cancel, pause, resume or retry all executions that the options take. Counts first, and asks."""
    if action not in ACTIONS:
        raise Stop(f"{action!r} is none of {', '.join(ACTIONS)}")
    if latest and action != "retry":
        raise Stop("--latest is of retry: leave it out")
    if (reason or by) and action != "cancel":
        raise Stop("--reason and --by are of cancel: leave them out")
    check_statuses(status)
    taken: dict[str, Any] = {
        "workflow": workflow,
        "status": status or None,
        "labels": labels_of(label or ()),
        "queue": queue,
        "before": None if older_than is None else datetime.now(UTC) - span_given(older_than, "--older-than"),
    }
    with open_client() as client:
        found = client.bulk(action, **taken, dry_run=True)
        if not dry_run and found.matched:
            _confirm(f"{action} {_count(found.matched)}?", yes)
            found = client.bulk(action, **taken, latest=latest, reason=reason, by=by)
    if as_json:
        put_json({"action": action, "dry_run": dry_run, **asdict(found)})
    elif dry_run:
        put(f"{action}: {_count(found.matched)}")
    else:
        put(f"{action}: done to {found.done} of {_count(found.matched)}")


def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Ended longer ago than e.g. 12h, 30d, 8w.")],
    status: Annotated[list[str] | None, typer.Option(help=f"Only {', '.join(ENDS)}; as often as you like.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete executions that ended long ago, with all that is kept of them. Counts first, and asks."""
    age = span_given(older_than, "--older-than")
    if wrong := [each for each in status or () if each not in ENDS]:
        raise Stop(f"--status {wrong[0]!r}: only what has ended is deleted, give one of {', '.join(ENDS)}")
    with open_client() as client:
        count = client.prune(age, status or None, dry_run=True)
        if not dry_run and count:
            _confirm(f"delete {_count(count)}?", yes)
            count = client.prune(age, status or None)
    if as_json:
        put_json({"dry_run": dry_run, "count": count})
    else:
        put(f"{'would delete' if dry_run else 'deleted'} {_count(count)}")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(f"{question} nobody is there to answer: give --yes, or --dry-run to count only")
    if not typer.confirm(question, err=True):
        raise typer.Abort


def _count(number: int) -> str:
    return f"{number} execution{'' if number == 1 else 's'}"


def _tell(execution: str, status: str, good: tuple[str, ...], verb: str, as_json: bool) -> None:
    if status not in good:
        raise Stop(f"execution {execution} is {status}: there is nothing to {verb}", Exit.FAILED)
    put_json({"id": execution, "status": status}) if as_json else put(f"{execution} {status}")


def _again(make: Callable[[Client], str], source: str, wait: bool, as_json: bool) -> None:
    with open_client() as client:
        made = make(client)
        if wait:
            put_end(client.wait(made), as_json)
        else:
            put_json({"id": made, "source_id": source}) if as_json else put(made)
