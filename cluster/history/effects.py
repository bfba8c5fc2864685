"""A log of effects outside, one JSON object a line: {"key": execution/node, "attempt", "at", "pid"}."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from dray.cluster.history.facts import Effect, History, Violation
from dray.cluster.history.order import Order
from dray.cluster.history.shape import Key, Shape

LATE = 2.0  # seconds after an execution's end in which a handler that was on its way may still begin


def parse(lines: Iterable[str]) -> list[Effect]:
    """Raises ValueError, KeyError or TypeError for a line that is none."""
    found = [json.loads(line) for line in lines if line.strip()]
    return [Effect(str(e["key"]), int(e["attempt"]), float(e["at"]), int(e["pid"])) for e in found]


def effects(
    history: History, shape: Shape, order: Order, seen: Sequence[Effect], logged: Collection[str],
    late: Collection[int], skew: float,
) -> Iterable[Violation]:  # fmt: skip
    """seen: those of this execution. logged: node types that write to the log. late: processes that stood still, or
    lost their lease: what they had taken up they may have begun long after others had done it."""
    e = history.execution
    by_key = history.by_key()
    for (key, attempt), times in Counter((each.node_key, each.attempt) for each in seen).items():
        mine = tuple(each for each in seen if (each.node_key, each.attempt) == (key, attempt))
        once = Key.of(key).node in shape.at_most_once
        if once and times > 1:
            message = f"{key} may run at most once and took effect {times} times"
            yield Violation("at_most_once", e.id, message, mine)
        elif times > max(1, e.claim_count):
            message = f"attempt {attempt} of {key} took effect {times} times in {e.claim_count} claims"
            yield Violation("effect", e.id, message, (e, *mine))
    yield from _tries(history, shape, seen)
    for each in seen:
        if (early := order.early(each, skew)) is not None:
            yield early
        if each.pid in late:
            continue
        end = next((one for one in by_key.get(each.node_key, ()) if one.kind in "cwf"), None)
        if end is not None and each.at > end.stored_at + skew:
            message = f"{each.node_key} ran {each.at - end.stored_at:.3f} s after it had ended"
            yield Violation("effect", e.id, message, (end, each))
        elif e.finished_at is not None and each.at > e.finished_at + LATE:
            message = f"{each.node_key} ran {each.at - e.finished_at:.3f} s after the end of its execution"
            yield Violation("effect", e.id, message, (e, each))
    done = {each.node_key for each in seen}
    for record in history.records:
        ran = record.kind in "cw" and record.duration_ms is not None and not history.is_copy(record)
        if ran and record.node_key not in done and shape.types.get(Key.of(record.node_key).node) in logged:
            yield Violation("effect", e.id, f"{record.node_key} completed and had no effect", (record,))


def _tries(history: History, shape: Shape, seen: Sequence[Effect]) -> Iterable[Violation]:
    """Further attempts at a node that may run once are those that it asked for by an answer."""
    answers = Counter(each.node_key for each in history.records if each.kind == "g")
    for key in {each.node_key for each in seen}:
        attempts = {each.attempt for each in seen if each.node_key == key}
        if Key.of(key).node in shape.at_most_once and len(attempts) > 1 + answers[key]:
            message = f"{key} may run at most once and took effect in {len(attempts)} attempts"
            mine = tuple(each for each in seen if each.node_key == key)
            yield Violation("at_most_once", history.execution.id, message, mine)
