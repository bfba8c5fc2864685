"""What must hold of one execution by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from dray.cluster.history.facts import ENDS, FINAL, Child, Execution, History, Record, Violation
from dray.cluster.history.order import ROUNDING
from dray.cluster.history.shape import Key, Shape

STATUSES = FINAL | {"queued", "running", "waiting", "paused"}
CLOCKS = 1.0  # seconds by which two clocks, or one that is set, may be apart
COMMIT = 60.0  # a wait counts from the answer, its wake_at from the commit, which may have been late
MOST_DEPTH = 10


def statuses(history: History) -> Iterable[Violation]:
    """A status that there is, and columns that go with it."""
    e = history.execution
    made = e.made_at
    checks: tuple[tuple[bool, str], ...] = (
        (e.status not in STATUSES, f"its status is {e.status!r}"),
        ((e.owner is not None) != (e.status == "running"), f"it is {e.status} and its owner is {e.owner}"),
        ((e.finished_at is not None) != (e.status in FINAL), f"it is {e.status} and finished_at is {e.finished_at}"),
        (e.status in ("completed", "running") and e.claim_count == 0, f"it is {e.status} and was never claimed"),
        (e.claim_count == 0 and e.started_at is not None, "it started and was never claimed"),
        (e.claim_count == 0 and bool(history.records), "something is recorded of it and it was never claimed"),
        (e.crash_count > e.claim_count, f"it crashed {e.crash_count} times in {e.claim_count} claims"),
        (not e.has_input and e.status not in FINAL, "its input is missing"),
        (made is not None and (e.finished_at or made) < made - CLOCKS, "it ended before it was submitted"),
        (made is not None and (e.started_at or made) < made - CLOCKS, "it started before it was submitted"),
        ((e.finished_at or e.started_at or 0) < (e.started_at or 0), "it ended before it started"),
        (e.depth > MOST_DEPTH or (e.parent_id is not None and e.depth != e.parent_depth + 1),
         f"it is at depth {e.depth}, its parent at {e.parent_depth}"),
    )  # fmt: skip
    for wrong, message in checks:
        if wrong:
            yield Violation("status", e.id, message, (e,))


def once(history: History) -> Iterable[Violation]:
    """Each node ends once, and nothing more is recorded of it then; attempts come one after the other."""
    for key, records in history.by_key().items():
        ends = [each for each in records if each.kind in ENDS]
        if len(ends) > 1:
            what = ", ".join(each.kind for each in ends)
            yield Violation("once", history.execution.id, f"{key} ended {len(ends)} times ({what})", tuple(ends))
        elif ends and records[-1] is not ends[0]:
            message = f"{key} went on after its end"
            yield Violation("once", history.execution.id, message, (ends[0], records[-1]))
        for first, second in pairwise(records):
            if first.kind == "r" and (second.began_by or second.at) < (first.wake_at or 0) - COMMIT:
                message = f"{key} was tried again before its time"
                yield Violation("retry", history.execution.id, message, (first, second))
            if second.at < first.at:
                message = f"attempt {second.attempt} of {key} was recorded before attempt {first.attempt}"
                yield Violation("once", history.execution.id, message, (first, second))


def after_end(history: History) -> Iterable[Violation]:
    """Final is final: nothing is recorded later, no signal is taken, no child begins."""
    e = history.execution
    if e.finished_at is None:
        return
    late = [each for each in history.records if each.at > e.finished_at]
    if late:
        yield Violation("end", e.id, f"{len(late)} outcomes were recorded after its end", (e, *late[:5]))
    taken = [each for each in history.signals if (each.consumed_at or 0) > e.finished_at]
    if taken:
        yield Violation("end", e.id, f"{len(taken)} signals were taken after its end", (e, *taken[:5]))
    begun = [each for each in history.children if each.run_at > e.finished_at + CLOCKS]
    if begun:
        yield Violation("end", e.id, f"{len(begun)} children began after its end", (e, *begun[:5]))


def at_most_once(history: History, shape: Shape) -> Iterable[Violation]:
    """A node that may run at most once writes that it starts, and is never tried again."""
    if not shape.at_most_once:
        return
    for text, records in history.by_key().items():
        key = Key.of(text)
        if key.node not in shape.at_most_once or key.turn is not None:
            continue
        again = [each for each in records if each.kind in "rl"]
        if again:
            yield Violation("at_most_once", history.execution.id, f"{text} was to be tried again", tuple(again))
        starts = [each for each in records if each.kind == "s"]
        ran = [each for each in records if each.duration_ms is not None and not history.is_copy(each)]
        if ran and (not starts or (ran[0].began_by or 0) < starts[0].at - ROUNDING):
            message = f"{text} ran before its start was recorded"
            yield Violation("at_most_once", history.execution.id, message, (*starts, *ran))


def signals(history: History) -> Iterable[Violation]:
    """A signal is taken by a node that waited for it, and one wait takes one signal."""
    e = history.execution
    by_key = history.by_key()
    taken = Counter((each.consumed_by, each.name) for each in history.signals if each.consumed_by is not None)
    for each in history.signals:
        if (each.consumed_at is None) != (each.consumed_by is None):
            yield Violation("signal", e.id, f"signal {each.id} is taken by halves", (each,))
        if each.consumed_by is None:
            continue
        waits = [one for one in by_key.get(each.consumed_by, ()) if one.kind == "g" and one.signal == each.name]
        node = each.consumed_by.rpartition("/")[2]
        if each.node not in (None, node, each.consumed_by):
            yield Violation("signal", e.id, f"signal {each.id} for {each.node} was taken by {node}", (each,))
        elif not waits:
            yield Violation("signal", e.id, f"{node} took signal {each.id}, for which it did not wait", (each,))
        elif taken.pop((each.consumed_by, each.name), 0) > len(waits):
            message = f"{each.consumed_by} took more signals {each.name!r} than it waited for"
            yield Violation("signal", e.id, message, (each, *waits))


def children(history: History, now: float, grace: float, drivers: int) -> Iterable[Violation]:
    """Each child was started by one wait, each wait for a child has one, and is over after the child."""
    e = history.execution
    by_id = {each.id: each for each in history.children}
    named = Counter(each.child for each in history.records if each.child is not None and each.kind == "g")
    for child, times in named.items():
        if times > 1:
            waits = tuple(each for each in history.records if each.child == child)
            yield Violation("child", e.id, f"{times} waits are for the same child {child}", waits)
    if e.source_id is None:
        for each in history.children:
            if not each.detached and each.id not in named:
                yield Violation("child", e.id, f"child {each.id} was started, and nobody waits for it", (each,))
    for records in history.by_key().values():
        for wait, answer in pairwise(records):
            if wait.kind == "g" and wait.child is not None:
                yield from _awaited(e, wait, answer, by_id.get(wait.child))
        if records[-1].kind == "g" and records[-1].child not in (None, *by_id) and e.finished_at is None:
            yield Violation(
                "child", e.id, f"the child that {records[-1].node_key} waits for is missing", (records[-1],)
            )
    ended = e.parent_finished_at
    is_told = e.control == "cancel" or e.marked
    if (
        ended is not None
        and e.finished_at is None
        and not e.detached
        and drivers
        and now - ended > grace
        and not is_told
    ):
        message = f"its parent was {e.parent_status} {now - ended:.0f} s ago, and it goes on"
        yield Violation("child", e.id, message, (e,))


def _awaited(e: Execution, wait: Record, answer: Record, child: Child | None) -> Iterable[Violation]:
    timed_out = wait.wake_at is not None and answer.at > wait.wake_at - COMMIT
    if timed_out or answer.kind not in "cwg" or child is None:
        return
    if child.finished_at is None or child.finished_at > answer.at:
        message = f"{wait.node_key} went on before its child {child.id} had ended"
        yield Violation("child", e.id, message, (wait, answer, child))
