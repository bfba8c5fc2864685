"""How many ran at once, and how many started within a time.

Only what ended in its first claim is counted: that one ran from its start to its end. Others gave their place back in
between, and nobody wrote down when. So what is found is sure, and not all is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dray.cluster.history.facts import Execution, Gate, Queue, Violation


class Ran(NamedTuple):
    """What counts of an execution. until: None = its place was given back meanwhile, or it still runs."""

    id: str
    queue: str
    gate: str | None
    key: str | None
    rate_key: str | None
    since: float
    until: float | None

    @classmethod
    def of(cls, e: Execution) -> Ran | None:
        if e.started_at is None:
            return None
        whole = e.claim_count == 1 and e.status in ("completed", "failed") and e.source_id is None
        return cls(e.id, e.queue, e.gate, e.concurrency_key, e.rate_key, e.started_at, e.finished_at if whole else None)


def limits(ran: Sequence[Ran], gates: Iterable[Gate], queues: Mapping[str, Queue]) -> Iterable[Violation]:
    """queues: those whose limits have held all the time."""
    for gate in gates:
        given = gate.limits or {}
        here = [each for each in ran if each.gate == gate.name and each.since > gate.since]
        yield from _at_once(here, given.get("concurrency"), f"workflow {gate.name!r}")
        for key, some in _grouped((each.key, each) for each in here):
            yield from _at_once(some, given.get("key_limit"), f"key {key!r} of workflow {gate.name!r}")
        rate = given.get("rate") or {}
        for key, some in _grouped((each.rate_key, each) for each in here):
            yield from _within(some, rate.get("limit"), rate.get("per"), f"workflow {gate.name!r}, key {key!r}")
    for queue in queues.values():
        here = [each for each in ran if each.queue == queue.name]
        yield from _at_once(here, queue.concurrency, f"queue {queue.name!r}")
        yield from _within(here, queue.rate, queue.per, f"queue {queue.name!r}")


def _grouped(pairs: Iterable[tuple[str | None, Ran]]) -> Iterable[tuple[str, list[Ran]]]:
    found: dict[str, list[Ran]] = {}
    for key, each in pairs:
        if key is not None:
            found.setdefault(key, []).append(each)
    return found.items()


def _at_once(ran: Sequence[Ran], most: int | None, what: str) -> Iterable[Violation]:
    if most is None:
        return
    open_: list[Ran] = []
    for each in sorted((one for one in ran if one.until is not None), key=lambda one: one.since):
        open_ = [one for one in open_ if (one.until or 0) > each.since]
        open_.append(each)
        if len(open_) > most:
            yield Violation("limit", each.id, f"{len(open_)} of {what} ran at once, {most} may", tuple(open_))
            return


def _within(ran: Sequence[Ran], most: int | None, per: float | None, what: str) -> Iterable[Violation]:
    if most is None or per is None:
        return
    starts = sorted(ran, key=lambda one: one.since)
    for first, last in zip(starts, starts[most:], strict=False):
        if last.since - first.since < per:
            took = last.since - first.since
            message = f"{most + 1} of {what} started within {took:.3f} s, {most} may within {per:g} s"
            yield Violation("rate", last.id, message, (first, last))
            return
