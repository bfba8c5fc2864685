"""Judge: takes what was read, batch by batch, and says what cannot be true of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dray.cluster.history import effects as outside
from dray.cluster.history import limits, order, single, waiting
from dray.cluster.history.facts import (
    FINAL,
    Child,
    Effect,
    Execution,
    Gate,
    History,
    Queue,
    Record,
    Signal,
    Violation,
)
from dray.cluster.history.shape import Shape

RULES = (
    "status", "once", "retry", "end", "order", "complete", "at_most_once", "signal", "child", "waiting", "limit",
    "rate", "effect", "accepted", "little",
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What is asked. grace: seconds that drivers have to do what is due. idle: everything should have come to rest.
    same_limits: those of queues have been the same all the time. least: how much there must have been to judge, by the
    names of Report.counts. logged, late, skew: of the log of effects, see effects.py. accepted: executions that were
    submitted, for sure.
    """

    grace: float = 60.0
    idle: bool = False
    same_limits: bool = False
    least: Mapping[str, int] = field(default_factory=dict)
    logged: Collection[str] = ()
    late: Collection[int] = ()
    skew: float = 0.0
    accepted: Collection[str] = ()


@dataclass
class Report:
    """counts: how much there was of what is judged. unread: executions too large to be judged."""

    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)


class Judge:
    """seen: the log of effects; None: there is none."""

    def __init__(
        self, question: Question, queues: Iterable[Sequence[Any]], seen: Iterable[Effect] | None = None
    ) -> None:
        self.report = Report()
        self._question = question
        self._queues = {row[0]: Queue(*row) for row in queues}
        self._shapes: dict[int, Shape] = {}
        self._ran: list[limits.Ran] = []
        self._executions: set[str] = set()
        self._marks = 0
        self._effects: dict[str, list[Effect]] | None = None
        if seen is not None:
            self._effects = {}
            for each in seen:
                self._effects.setdefault(each.execution, []).append(each)
                self.report.counts["effects"] += 1

    def take(
        self, now: Sequence[Any], executions: Iterable[Sequence[Any]], records: Iterable[Sequence[Any]],
        signals: Iterable[Sequence[Any]], children: Iterable[Sequence[Any]], workflows: Iterable[Sequence[Any]],
        unread: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """A batch, as store/history.py reads it."""
        for number, _, _, graph, _ in workflows:
            if number not in self._shapes:
                self._shapes[number] = Shape(graph)
        recorded = _grouped((Record(*row) for row in records), lambda row: row.execution_id)
        sent = _grouped((Signal(*row) for row in signals), lambda row: row.execution_id)
        born = _grouped((Child(*row) for row in children), lambda row: row.parent_id)
        self.report.unread += unread
        self._executions.update(unread)
        self._marks = now[2]
        for row in executions:
            e = Execution(*row)
            found = History(e, *(tuple(each.get(e.id, ())) for each in (recorded, sent, born)))
            self._executions.add(e.id)
            self._one(found, now[0], now[1])

    def _one(self, history: History, now: float, drivers: int) -> None:
        question, e = self._question, history.execution
        found = self.report.violations
        self._count(history)
        found += single.statuses(history)
        found += single.once(history)
        found += single.after_end(history)
        found += single.signals(history)
        found += single.children(history, now, question.grace, drivers)
        found += waiting.waiting(history, now, question.grace, drivers)
        if question.idle:
            found += waiting.idle(history, self._queues)
        if (ran := limits.Ran.of(e)) is not None:
            self._ran.append(ran)
        shape = self._shapes.get(e.workflow_id)
        if shape is None:
            found.append(Violation("status", e.id, f"its workflow {e.workflow_id} is missing", (e,)))
            return
        ordered = order.Order(history, shape)
        found += ordered.violations()
        found += order.missing(history, shape)
        found += single.at_most_once(history, shape)
        if self._effects is not None:
            seen = self._effects.get(e.id, ())
            found += outside.effects(history, shape, ordered, seen, question.logged, question.late, question.skew)
        self.report.counts["order"] += ordered.judged

    def _count(self, history: History) -> None:
        counts, e = self.report.counts, history.execution
        counts["executions"] += 1
        counts["final"] += e.status in FINAL
        counts[e.status] += 1
        counts["records"] += len(history.records)
        counts["signals"] += sum(each.consumed_at is not None for each in history.signals)
        counts["children"] += len(history.children)
        counts["limited"] += e.gate is not None
        counts["taken_over"] += e.crash_count > 0
        for kind, name in (("r", "retries"), ("s", "at_most_once"), ("g", "waits"), ("l", "lost"), ("f", "failures")):
            counts[name] += sum(each.kind == kind for each in history.records)

    def gates(self) -> list[str]:
        """The workflows whose limits are wanted by end()."""
        return sorted({each.gate for each in self._ran if each.gate is not None})

    def strangers(self) -> list[str]:
        """The executions that the log of effects names and no batch had: end() wants to know which of them exist."""
        return sorted(set(self._effects or ()) - self._executions)

    def end(self, gates: Iterable[Sequence[Any]], known: Collection[str] = ()) -> Report:
        """After the last batch."""
        question, report = self._question, self.report
        queues = self._queues if question.same_limits else {}
        report.violations += limits.limits(self._ran, [Gate(*row) for row in gates], queues)
        for each in self.strangers():
            if each not in known:
                rows = tuple((self._effects or {})[each][:5])
                report.violations.append(Violation("accepted", each, "it took effect and was never accepted", rows))
        for each in question.accepted:
            if each not in self._executions:
                report.violations.append(Violation("accepted", each, "it was accepted and is not there"))
        if question.idle and self._marks:
            message = f"{self._marks} marks to wake or cancel were never placed"
            report.violations.append(Violation("waiting", None, message))
        for name, wanted in question.least.items():
            if report.counts[name] < wanted:
                message = f"too little happened: {report.counts[name]} {name}, {wanted} are wanted"
                report.violations.append(Violation("little", None, message))
        return report


def _grouped(rows: Iterable[Any], key: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for each in rows:
        found.setdefault(key(each), []).append(each)
    return found
