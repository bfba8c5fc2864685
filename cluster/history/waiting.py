"""Nothing accepted is lost: what has not ended is run by somebody, or waits for something that can still come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dray.cluster.history.facts import FINAL, Child, History, Queue, Record, Violation
from dray.cluster.history.order import open_waits

RULE = "waiting"


def waiting(history: History, now: float, grace: float, drivers: int) -> Iterable[Violation]:
    """grace: seconds that whoever should act has for it. drivers: those that live; without any, nobody can act."""
    e = history.execution
    if e.status == "running":
        if not e.is_held:
            yield Violation(RULE, e.id, f"it is held by {e.owner}, which does not exist: nobody will take it", (e,))
        elif drivers and e.lease_until is not None and now - e.lease_until > grace:
            message = f"the lease of its driver ran out {now - e.lease_until:.0f} s ago, and nobody took it"
            yield Violation(RULE, e.id, message, (e,))
    elif e.status == "waiting" and e.claim_count == 0:
        if e.wake_at is None:
            yield Violation(RULE, e.id, "it waits for its first run, and for no time", (e,))
    elif e.status == "waiting":
        yield from _parked(history, now, grace, drivers)
    if e.status == "waiting" and e.wake_at is not None and drivers and now - e.wake_at > grace:
        yield Violation(RULE, e.id, f"its timer was due {now - e.wake_at:.0f} s ago, and nobody woke it", (e,))


def _parked(history: History, now: float, grace: float, drivers: int) -> Iterable[Violation]:
    e = history.execution
    waits = open_waits(history)
    news = [each for each in waits if each.signal is not None or each.child is not None]
    if e.wake_at is None and not news and not e.marked:
        yield Violation(
            RULE, e.id, "it waits, and for nothing: no timer, no signal, no child", (e, *history.records[-5:])
        )
    due = [each for each in waits if each.wake_at is not None and now - each.wake_at > grace]
    if due and drivers and (e.wake_at is None or e.wake_at > now):
        yield Violation(RULE, e.id, f"{due[0].node_key} is due and its execution sleeps on", (e, due[0]))
    if e.marked or not drivers:
        return
    children = {each.id: each for each in history.children}
    for wait in news:
        yield from _told(history, wait, children.get(wait.child or ""), now - grace)


def _told(history: History, wait: Record, child: Child | None, until: float) -> Iterable[Violation]:
    e = history.execution
    if child is not None and child.status in FINAL and (child.finished_at or 0) < until:
        message = f"{wait.node_key} waits for its child {child.id}, which has ended"
        yield Violation(RULE, e.id, message, (e, wait, child))
    last = wait.node_key.rpartition("/")[2]
    for each in history.signals:
        fits = each.name == wait.signal and each.node in (None, last, wait.node_key)
        if fits and each.consumed_at is None and each.sent_at < until and wait.at < until:
            message = f"{wait.node_key} waits for a signal {each.name!r}, which is there"
            yield Violation(RULE, e.id, message, (e, wait, each))
            return


def idle(history: History, queues: Mapping[str, Queue]) -> Iterable[Violation]:
    """Where drivers had all the time that they needed: nothing is queued or running any more, nothing is due."""
    e = history.execution
    queue = queues.get(e.queue)
    if e.status in ("queued", "running") and not (queue is not None and queue.paused and e.status == "queued"):
        yield Violation(RULE, e.id, f"it is still {e.status}", (e, *history.records[-5:]))
