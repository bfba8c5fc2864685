"""What a runner has done, counted where it happens, for whoever reports it (on_ray/metrics.py).

Adding is on the way of every node, so it is a few additions under a lock that its caller holds anyway: 0.4 us, where a
call of Ray's metrics takes 6 and is another one for each bucket.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from dray.actors.messages import NodeResult
from dray.actors.registry import HandlerSpec

# Seconds. Fewer than the driver's: Ray keeps the numbers of every runner that ever was, apart from each other.
BOUNDS = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0)
UNKNOWN = "unknown"
_MILLISECONDS = tuple(round(each * 1000) for each in BOUNDS)


class Row:
    """Of one node type. outcomes: how often each. counts: how many took up to each of BOUNDS, the last one for what
    took longer. milliseconds: of all of them."""

    __slots__ = ("counts", "milliseconds", "outcomes")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.counts = [0] * (len(BOUNDS) + 1)
        self.milliseconds = 0


class Seen(NamedTuple):
    """running: handlers now. waiting: nodes that the runner has and that have not begun. rows: type -> what ended since
    the last look."""

    running: int
    waiting: int
    rows: dict[str, Row]


class Tally:
    """Its caller sees to it that only one thread is in here."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def add(self, handler: HandlerSpec | None, result: NodeResult) -> None:
        """handler: None for a type that nobody registered. There are as many rows as handlers, whatever graphs say."""
        name = UNKNOWN if handler is None else handler.type
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = Row()
        outcome = result.outcome
        row.outcomes[outcome] = row.outcomes.get(outcome, 0) + 1
        row.counts[bisect_left(_MILLISECONDS, result.duration_ms)] += 1
        row.milliseconds += result.duration_ms

    def take(self) -> dict[str, Row]:
        rows, self._rows = self._rows, {}
        return rows
