"""dray schedule: make workflows run by themselves."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dray.cluster.cli.base import Stop, json_value, labels_of, open_client, put, put_json, put_table, shown

if TYPE_CHECKING:
    from dray.cluster.schedules import Timing
    from dray.store.client.schedules import Schedule

app = typer.Typer(help="Make workflows run by themselves.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the schedule.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
NEXT = 5  # slots that are shown


@app.command()
def create(
    name: Name,
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its latest version runs at each slot.")],
    cron: Annotated[str | None, typer.Option(help='Five fields or a name: "0 3 * * mon-fri", @daily.')] = None,
    every: Annotated[str | None, typer.Option(help="An interval: 90s, 15m, 1h30m, 1d.")] = None,
    at: Annotated[str | None, typer.Option(help="Once, at a time such as 2030-01-31T08:00.")] = None,
    zone: Annotated[str, typer.Option("--timezone", help="Of --cron and --at, e.g. Europe/Berlin.")] = "UTC",
    given: Annotated[str, typer.Option("--input", help="A JSON object, @file, or - for stdin.")] = "{}",
    priority: Annotated[int, typer.Option(help="Higher runs first.")] = 5,
    queue: Annotated[str, typer.Option(help="Which drivers run it.")] = "default",
    label: Annotated[list[str] | None, typer.Option("--label", help="name=value, as often as you like.")] = None,
    overlap: Annotated[str, typer.Option(help="While the last one runs: skip, queue (one waits) or allow.")] = "skip",
    missed: Annotated[
        str, typer.Option(help="Slots that no driver was there for: skip, latest (once) or all.")
    ] = "latest",
    missed_limit: Annotated[int | None, typer.Option(min=1, help="Of --missed all: the newest so many.")] = None,
    paused: Annotated[
        bool | None, typer.Option("--paused/--active", help="[default: as it was, a new one active]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a schedule, or change the one of that name. Slots count from now on."""
    timing = _timing(cron, every, at, zone)
    value = json_value(given, "--input")
    if not isinstance(value, dict):
        raise Stop("--input of a schedule must be a JSON object: what tells of the slot is added to it")
    labels = labels_of(label or ())
    with open_client() as client:
        client.set_schedule(
            name, workflow, timing, input=value, priority=priority, queue=queue, labels=labels, overlap=overlap,
            missed=missed, missed_limit=missed_limit, paused=paused,
        )  # fmt: skip
        found = client.schedule(name)
    _say(found, as_json)


@app.command("list")
def list_(
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None, as_json: AsJson = False
) -> None:
    """All schedules, by name."""
    with open_client() as client:
        found = client.schedules(workflow)
    if as_json:
        put_json([_json(each) for each in found])
        return
    rows = [
        (each.name, each.status, _when(each), each.workflow, _first(each), each.last_at, each.error) for each in found
    ]
    put_table("", ("name", "status", "when", "workflow", "next", "last", "error"), rows)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """One schedule."""
    with open_client() as client:
        found = client.schedule(name)
    if as_json:
        put_json(_json(found))
        return
    for key, value in asdict(found).items():
        if value not in (None, {}, []):
            put(f"{key:<16}{shown(value)}")


@app.command("next")
def next_(
    name: Name,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = NEXT,
    as_json: AsJson = False,
) -> None:
    """The slots that follow, in the schedule's zone."""
    with open_client() as client:
        found = client.schedule(name)
    slots = _next(found, count)
    if as_json:
        put_json([each.isoformat() for each in slots])
        return
    for each in slots:
        put(f"{each:%a} {each.isoformat(sep=' ')}")
    if not slots:
        put(f"{name} is {found.status}: there is none")


@app.command()
def pause(name: Name, as_json: AsJson = False) -> None:
    """Start nothing of it until it is resumed."""
    with open_client() as client:
        _status(name, client.pause_schedule(name), as_json)


@app.command()
def resume(name: Name, as_json: AsJson = False) -> None:
    """Go on from now; the slots of the pause are not made good."""
    with open_client() as client:
        _status(name, client.resume_schedule(name), as_json)


@app.command()
def run(name: Name, as_json: AsJson = False) -> None:
    """Start an execution now, as a slot would, and print its id."""
    with open_client() as client:
        execution = client.run_schedule(name)
    put_json({"id": execution}) if as_json else put(execution)


@app.command()
def delete(name: Name, as_json: AsJson = False) -> None:
    """Delete it. Its executions stay."""
    with open_client() as client:
        client.delete_schedule(name)
    _status(name, "deleted", as_json)


def _timing(cron: str | None, every: str | None, at: str | None, zone: str) -> Timing:
    from dray.cluster.schedules import Timing

    if sum(each is not None for each in (cron, every, at)) != 1:
        raise Stop("give one of --cron, --every and --at")
    if every is not None:
        if zone != "UTC":
            raise Stop("--timezone is of --cron and --at: an interval has none")
        return Timing.every(every)
    if cron is not None:
        return Timing.cron(cron, zone)
    assert at is not None
    timing = Timing.once(at, zone)
    if timing.after(datetime.now(UTC)) is None:
        raise Stop(f"--at {at} has passed: give a time to come")
    return timing


def _next(found: Schedule, count: int) -> list[datetime]:
    """The slots to come, if no driver was there yet worked out here; of a paused one, as if it were resumed now."""
    from dray.cluster.errors import ScheduleInvalid
    from dray.cluster.schedules import timing_of

    if found.status == "ended":
        return []
    try:
        timing = timing_of(found.kind, found.expression, found.zone)
    except ScheduleInvalid:  # stored by SQL; its error is shown
        return []
    if found.status == "paused":
        return timing.following(datetime.now(UTC), count)
    if found.next_at is None:
        return timing.following(found.since, count)
    return [timing.shown(found.next_at), *timing.following(found.next_at, count - 1)]


def _first(found: Schedule) -> str | None:
    following = _next(found, 1)
    return following[0].isoformat() if following else None


def _json(found: Schedule) -> dict[str, Any]:
    return {**asdict(found), "next": _first(found)}


def _say(found: Schedule, as_json: bool) -> None:
    if as_json:
        put_json(_json(found))
        return
    put(f"{found.name} {found.status}: {found.workflow} {_when(found)}, next {_first(found) or 'none'}")


def _when(found: Schedule) -> str:
    zone = "" if found.kind == "interval" else f" {found.zone}"
    return (
        {"cron": "", "interval": "every ", "once": "once "}[found.kind]
        + found.expression
        + (" s" if found.kind == "interval" else zone)
    )


def _status(name: str, status: str, as_json: bool) -> None:
    put_json({"name": name, "status": status}) if as_json else put(f"{name} {status}")
