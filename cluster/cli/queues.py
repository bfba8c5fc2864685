"""dray queues: look at queues, stop one, limit one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dray.cluster.cli.base import Stop, open_client, put, put_json, put_table

if TYPE_CHECKING:
    from dray.store.client.queues import Queue

app = typer.Typer(help="Look at queues, pause them, limit them.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the queue.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
NONE = "none"


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every queue: what waits and runs in it, its limits, whether it is paused."""
    with open_client() as client:
        found = client.queues()
    if as_json:
        put_json([asdict(each) for each in found])
        return
    rows = [
        (each.name, "paused" if each.paused else "open", each.queued, each.held, each.running,
         each.oldest_queued_seconds, each.concurrency, _rate(each), each.ageing)
        for each in found
    ]  # fmt: skip
    names = ("queue", "", "queued", "held", "running", "oldest, s", "concurrency", "rate", "ageing, s")
    put_table("", names, rows)


@app.command()
def pause(name: Name, as_json: AsJson = False) -> None:
    """Have no driver take anything more from a queue. What runs goes on; what is submitted waits."""
    with open_client() as client:
        client.pause_queue(name)
    _tell(name, "paused", as_json)


@app.command()
def resume(name: Name, as_json: AsJson = False) -> None:
    """Let drivers take from a queue again."""
    with open_client() as client:
        resumed = client.resume_queue(name)
    _tell(name, "resumed" if resumed else "was not paused", as_json)


@app.command()
def limit(
    name: Name,
    concurrency: Annotated[
        str | None, typer.Option(metavar="N", help="Executions that run at once, in all drivers; none: no limit.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="N", help="Executions that start within --per seconds; none: no limit.")
    ] = None,
    per: Annotated[float | None, typer.Option(metavar="SECONDS", help="Of --rate. [default: 1]")] = None,
    ageing: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Waiting that is worth a point of priority.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change the limits of a queue; what is not given stays as it is."""
    if concurrency is None and rate is None and per is None and ageing is None:
        raise Stop("nothing to change: give --concurrency, --rate, --per or --ageing")
    places, starts = _number("--concurrency", concurrency), _number("--rate", rate)
    with open_client() as client:
        now = next((each for each in client.queues() if each.name == name), None)
        if now is not None:
            places = now.concurrency if concurrency is None else places
            starts = now.rate if rate is None else starts
            per = per or now.per
            ageing = now.ageing if ageing is None else ageing
        if per is not None and starts is None and rate is None:
            raise Stop("--per is of --rate: give both")
        per = (per or 1.0) if starts is not None else None
        client.limit_queue(name, concurrency=places, rate=starts, per=per, ageing=60.0 if ageing is None else ageing)
        found = next(each for each in client.queues() if each.name == name)
    if as_json:
        put_json(asdict(found))
    else:
        put(f"{name}: concurrency {found.concurrency or NONE}, rate {_rate(found) or NONE}, ageing {found.ageing:g} s")


def _number(option: str, text: str | None) -> int | None:
    if text is None or text.lower() == NONE:
        return None
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise Stop(f"{option} {text!r} must be 1 to 1000000, or none; to stop a queue: dray queues pause")
    return int(text)


def _rate(found: Queue) -> str | None:
    return None if found.rate is None else f"{found.rate} per {found.per:g} s"


def _tell(name: str, what: str, as_json: bool) -> None:
    put_json({"queue": name, "state": what}) if as_json else put(f"{name} {what}")
