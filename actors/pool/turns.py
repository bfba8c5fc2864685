"""The lines of all shapes, and which of the shapes that graphs ask for have runners now.

However many shapes graphs ask for (Shape.at_once tells), `most` of them have runners at once: each is a process or
more. While others wait, one that has nothing to do gives way, or the one that has had its turn longest, after TURN
seconds: its runners end what they have and leave, and it goes to the end. So one that the cluster never has a place
for keeps no other from its turn. A line that has nothing and nobody is forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from dray.actors.pool.demand import PATIENCE, Demand, Sizes
from dray.actors.pool.line import TELL_AGAIN, Line
from dray.actors.pool.shapes import Shape, asked

TURN = 300.0  # seconds: the cluster may have to bring up a node for it

_log = logging.getLogger("dray.pool")


class Lines:
    """of_default, of_others: how many runners. slots: nodes in one runner. most: shapes of graphs with runners."""

    def __init__(self, default: Shape, of_default: Sizes, of_others: Sizes, slots: int, most: int) -> None:
        self.default = Line(default, slots, Demand(of_default, PATIENCE), 0.0)
        self._sizes = of_others
        self._slots = slots
        self._most = most
        self.known: dict[Shape, Line] = {default: self.default}
        self._told_at: float | None = None

    def __iter__(self) -> Iterator[Line]:
        return iter(self.known.values())

    def __getitem__(self, shape: Shape) -> Line:
        return self.known[shape]

    def begin(self, shape: Shape, now: float) -> Line:
        """It is asked for, and not known."""
        opens = not shape.at_once or len(self._with_runners()) < self._most
        slots = 1 if shape.solo else shape.at_once or self._slots
        line = self.known[shape] = Line(shape, slots, self._demand(shape), now if opens else None)
        return line

    def short(self) -> list[tuple[str, int, float]]:
        """For people: what nodes wait for that no runner is there for, how many, and since when on the clock."""
        return [(asked(each.shape), each.nodes, each.short_since) for each in self if each.short_since is not None]

    def turn(self, now: float) -> None:
        """Every second: forget what is over, and see whose turn it is."""
        over = [line for line in self if line is not self.default and line.is_over(now)]
        for line in over:
            del self.known[line.shape]
        with_runners = self._with_runners()
        waiting = [line for line in self if line.open_since is None and line.nodes]
        if not waiting:
            self._told_at = None
            return
        room = self._most - len(with_runners)
        for line in [each for each in waiting if not each.members]:
            if room > 0:
                room -= 1
                self._open(line, now)
        patient = [line for line in waiting if line.open_since is None and not line.members]
        if not patient:
            for line in waiting:  # it leaves, and nobody comes in its place
                if line.open_since is None:
                    self._open(line, now)
            return
        self._tell(patient, now)
        leaving = sum(line.open_since is None for line in with_runners)
        for line in self._due(with_runners, now)[: max(0, len(patient) - leaving)]:
            line.open_since = None
            self.known[line.shape] = self.known.pop(line.shape)  # to the end

    def _due(self, lines: list[Line], now: float) -> list[Line]:
        """Those that may give way: the idle ones, then those that have had their turn longest."""
        found = [
            (bool(line.nodes), line.open_since, number, line)
            for number, line in enumerate(lines)
            if line.open_since is not None and (not line.nodes or now - line.open_since >= TURN)
        ]
        return [each[-1] for each in sorted(found)]

    def _with_runners(self) -> list[Line]:
        return [line for line in self if line.shape.at_once and (line.open_since is not None or line.members)]

    def _open(self, line: Line, now: float) -> None:
        line.open_since = now
        line.demand = self._demand(line.shape)

    def _demand(self, shape: Shape) -> Demand:
        if shape.solo:  # one suspect at a time: what kills other runners than its own must not kill other suspects'
            return Demand(self._sizes._replace(most=1, busy=1))
        return Demand(self._sizes._replace(busy=shape.at_once or self._sizes.busy))

    def _tell(self, patient: list[Line], now: float) -> None:
        if self._told_at is None or now - self._told_at >= TELL_AGAIN:
            self._told_at = now
            what = "shapes of runners wait for their turn"
            warn(what, shapes=len(patient), at_once=self._most, setting="DRAY_RUNNER_SHAPES")


def say_stuck(shape: Shape, runners: int, seconds: float) -> None:
    warn("runners do not start; has the cluster what they ask for?", shape=shape, runners=runners, seconds=seconds)


def warn(event: str, **fields: object) -> None:
    _log.warning("%s", event, extra={"fields": fields})
