"""That a node began after the commit of all that comes before it; and that nothing was left out of what completed.

When a node began is not recorded, but it was no later than its end less what it took. What is derived (a trigger, a
merge, the end of a loop) is stored along with what it follows from or later, so it is looked through.
"""

from __future__ import annotations

from collections.abc import Iterable

from dray.cluster.history.facts import ENDS, Effect, History, Record, Violation
from dray.cluster.history.shape import Key, Shape

ROUNDING = 0.003  # seconds: durations are whole milliseconds
RULE = "order"


class Order:
    """Of one execution. judged: how many beginnings there were to judge."""

    def __init__(self, history: History, shape: Shape) -> None:
        self.judged = 0
        self._history = history
        self._shape = shape
        self._ends: dict[str, Record] = {}
        self._inside: dict[str, Record] = {}  # prefix of a scope, or of all of a loop's -> the last that was stored
        self._needs: dict[str, Record | None] = {}
        for each in history.records:
            if each.kind in "cwf":
                self._ends[each.node_key] = each
            if each.duration_ms is not None:
                self._put_inside(each)

    def _put_inside(self, record: Record) -> None:
        key = Key.of(record.node_key)
        places = [] if key.turn is None else [key.prefix + key.node]
        scope = key.scope
        while scope is not None:
            around, loop, turn = scope
            places += [around + loop, f"{around}{loop}[{turn}]/"]
            scope = Key(around, loop, None).scope
        for place in places:
            known = self._inside.get(place)
            if known is None or known.stored_at < record.stored_at:
                self._inside[place] = record

    def violations(self) -> Iterable[Violation]:
        for each in self._history.records:
            if each.began_by is None or self._history.is_copy(each):
                continue
            need = self.need(each.node_key)
            if need is None or self._history.is_copy(need):
                continue
            self.judged += 1
            if each.began_by < need.stored_at - ROUNDING:
                early = need.stored_at - each.began_by
                message = f"{each.node_key} began {early:.3f} s or more before {need.node_key} was committed"
                yield Violation(RULE, each.execution_id, message, (need, each))

    def early(self, effect: Effect, skew: float) -> Violation | None:
        """An effect outside that came before the commit. skew: seconds that the clocks may differ."""
        need = self.need(effect.node_key)
        if need is None or self._history.is_copy(need):
            return None
        self.judged += 1
        if effect.at >= need.stored_at - skew:
            return None
        message = (
            f"{effect.node_key} took effect {need.stored_at - effect.at:.3f} s before {need.node_key} was committed"
        )
        return Violation(RULE, effect.execution, message, (need, effect))

    def need(self, key: str) -> Record | None:
        """The last of all that must be stored before this node may begin."""
        if key not in self._needs:
            self._needs[key] = None  # a damaged graph may go in circles
            found = [each for each in self._sources(Key.of(key)) if each is not None]
            self._needs[key] = max(found, key=lambda each: each.stored_at, default=None)
        return self._needs[key]

    def _sources(self, key: Key) -> Iterable[Record | None]:
        shape = self._shape
        if key.turn is not None and key.turn > 0:
            yield self._inside.get(f"{key.prefix}{key.node}[{key.turn - 1}]/")
            return
        if key.node in shape.early_joins or key.node not in shape.types:
            return
        before = shape.before(key.node, shape.region_of(key))
        for node, is_loop in before:
            yield self._end(key.prefix + node, is_loop)
        scope = key.scope
        if not before and scope is not None:
            yield from self._opening(*scope)

    def _opening(self, around: str, loop: str, turn: int) -> Iterable[Record | None]:
        """What comes before the first nodes of a turn."""
        kind = self._shape.kind(self._shape.region_of(Key(f"{around}{loop}[{turn}]/", loop, None)))
        if kind == "while":
            yield self._ends.get(f"{around}{loop}[{turn}]")
        elif turn > 0 and kind in ("for", "cycle"):
            yield self._inside.get(f"{around}{loop}[{turn - 1}]/")
        elif kind == "cycle":
            yield from self._sources(Key(around, loop, None))
        else:
            yield self._ends.get(f"{around}{loop}[]")

    def _end(self, key: str, is_loop: bool) -> Record | None:
        if is_loop:
            return self._inside.get(key) or self.need(key)
        found = self._ends.get(key)
        return self.need(key) if found is not None and found.is_derived else found


def missing(history: History, shape: Shape) -> Iterable[Violation]:
    """Nodes of a completed execution that an edge leads to from a completed one, and of which nothing is recorded."""
    if history.execution.status != "completed" or shape.has_forks or shape.leaves_early:
        return
    keys = {Key.of(each.node_key) for each in history.records}
    known = {(key.prefix, key.node) for key in keys}
    for key in keys:
        scope = key.scope
        while scope is not None:
            known.add(scope[:2])
            scope = Key(*scope[:2], None).scope
    failed: set[str] = set()  # the scopes in which something failed, and those around them
    for key in (Key.of(each.node_key) for each in history.records if each.kind == "f"):
        failed |= {"", *(key.prefix[: n + 1] for n, letter in enumerate(key.prefix) if letter == "/")}
    for record in history.records:
        key = Key.of(record.node_key)
        if record.kind not in "cw" or key.turn is not None or key.prefix in failed:
            continue
        if shape.home(key.node) != shape.region_of(key):
            continue
        for target in shape.following.get(key.node, ()):
            if (key.prefix, target) not in known:
                message = f"it completed, and of {key.prefix}{target} nothing is recorded after {record.node_key}"
                yield Violation("complete", record.execution_id, message, (record,))


def open_waits(history: History) -> list[Record]:
    """The last record of each node that waits: for news, a time, or its next attempt."""
    last: dict[str, Record] = {}
    waits: dict[str, Record] = {}
    for each in history.records:
        last[each.node_key] = each
        if each.kind == "g":
            waits[each.node_key] = each
        elif each.kind in ENDS:
            waits.pop(each.node_key, None)
    times = [each for each in last.values() if each.kind in "wr"]
    return [*waits.values(), *(each for each in times if each.node_key not in waits)]
