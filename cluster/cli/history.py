"""dray check-history: whether what is recorded keeps the promises of docs/architecture.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dray.cluster.cli.base import Exit, Stop, open_engine, put, put_json

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from dray.cluster.history.facts import Effect, Violation
    from dray.cluster.history.judge import Question, Report

SHOWN = 20  # violations of one rule, in text


def judge(
    engine: Engine, question: Question, seen: Iterable[Effect] | None = None,
    since: float | None = None, limit: int | None = None, timeout: float = 10.0,
) -> Report:  # fmt: skip
    """Reads and judges. since: seconds since 1970. limit: executions, the newest; None = all."""
    from dray.cluster.history.judge import Judge
    from dray.store.history import HistoryReader

    reader = HistoryReader(engine, timeout)
    found = Judge(question, reader.queues(), seen)
    for batch in reader.batches(since, limit):
        found.take(*batch)
    return found.end(reader.gates(found.gates()), reader.known(found.strangers()))


def check_history(
    since: Annotated[datetime | None, typer.Option(help="Submitted at or after this local time.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many, the newest; 0: all.")] = 10_000,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that drivers have for what is due.")] = 60.0,
    idle: Annotated[bool, typer.Option("--idle", help="Nothing should be queued or running any more.")] = False,
    at_least: Annotated[int, typer.Option(min=0, help="Fail where fewer executions have ended.")] = 0,
    effects: Annotated[Path | None, typer.Option(help="A log of effects outside, JSON lines.")] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for one statement.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Check what is recorded against what Dray promises. Only reads; may run in production. Exits with 1 if it finds a
    contradiction."""
    from dray.cluster.history.judge import Question

    question = Question(grace=grace, idle=idle, least={"final": at_least})
    seen = None if effects is None else _log(effects)
    with open_engine() as engine:
        report = judge(engine, question, seen, None if since is None else since.timestamp(), limit or None, timeout)
    if as_json:
        put_json(as_plain(report))
    else:
        for line in lines(report):
            put(line)
    if report.violations or report.unread:
        count = len(report.violations)
        raise Stop(f"{count} contradictions, {len(report.unread)} executions too large to be checked", Exit.FAILED)


def _log(path: Path) -> list[Effect]:
    from dray.cluster.history.effects import parse

    try:
        return parse(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Stop(f"--effects {path}: {type(error).__name__}: {error}") from None


def as_plain(report: Report) -> dict[str, Any]:
    return {
        "counts": dict(report.counts),
        "unread": report.unread,
        "violations": [{**each._asdict(), "rows": [_row(row) for row in each.rows]} for each in report.violations],
    }


def lines(report: Report) -> Iterable[str]:
    """For people: what was judged, and each contradiction with its rows."""
    yield ", ".join(f"{count} {name}" for name, count in sorted(report.counts.items()) if count) or "nothing to check"
    told: Counter[str] = Counter()
    for each in report.violations:
        told[each.rule] += 1
        if told[each.rule] <= SHOWN:
            yield from _told(each)
    for rule, count in told.items():
        if count > SHOWN:
            yield f"{rule}: {count - SHOWN} more"
    for execution in report.unread:
        yield f"not checked, too large: {execution}"


def _told(violation: Violation) -> Iterable[str]:
    where = "" if violation.execution is None else f"execution {violation.execution}: "
    yield f"{violation.rule}: {where}{violation.message}"
    for row in violation.rows:
        yield "    " + ", ".join(f"{name}={value}" for name, value in _row(row).items() if value is not None)


def _row(row: Any) -> dict[str, Any]:
    return {"row": type(row).__name__.lower(), **row._asdict()}
