"""How many runners of a shape there shall be. No clock of its own.

Up at once, or after PATIENCE where runners are there already: a burst that they get through starts nobody. Down after
`idle` seconds in all of which fewer were needed, to the most that were needed in that time. So a load that goes up and
down within that time starts and ends nothing.
"""

from __future__ import annotations

from typing import NamedTuple

PATIENCE = 1.0  # seconds for which more must be needed than there are


class Sizes(NamedTuple):
    """least, most: runners. idle: seconds. busy: nodes for which one runner is enough."""

    least: int
    most: int
    idle: float
    busy: int


class Demand:
    """Of one shape. number: runners that there shall be."""

    __slots__ = ("_above_since", "_below_since", "_peak", "number", "patience", "sizes")

    def __init__(self, sizes: Sizes, patience: float = 0.0) -> None:
        self.sizes = sizes
        self.patience = patience
        self.number = sizes.least
        self._above_since: float | None = None
        self._below_since: float | None = None
        self._peak = 0

    def update(self, nodes: int, now: float) -> int:
        """nodes: that wait or run. Call it when they change, and every second."""
        least, most, idle, busy = self.sizes
        needed = min(most, max(least, -(-nodes // busy)))
        if needed > self.number:
            if self._above_since is None:
                self._above_since = now
            if not self.number or now - self._above_since >= self.patience:
                self.number, self._above_since = needed, None
        else:
            self._above_since = None
        if needed >= self.number:
            self._below_since, self._peak = None, 0
            return self.number
        if self._below_since is None:
            self._below_since = now
        self._peak = max(self._peak, needed)
        if now - self._below_since >= idle:
            self.number, self._below_since, self._peak = self._peak, None, 0
        return self.number
