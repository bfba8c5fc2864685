"""What disturbs, and when: a pure function of the seed, so that a run can be had again."""

from __future__ import annotations

import random
from typing import NamedTuple

DRIVERS = 3
LEASE = 3.0  # seconds
QUIET = 2.0  # seconds at the start


class Step(NamedTuple):
    """at, lasts: seconds. driver: which one, where it is about one. lot: a number from 0 to 1, to choose by."""

    at: float
    what: str
    lasts: float
    driver: int
    lot: float

    def __str__(self) -> str:
        return f"{self.at:7.2f} s  {self.what:<16} for {self.lasts:.2f} s, driver {self.driver}, lot {self.lot:.3f}"


# what -> (weight, shortest, longest)
KINDS: dict[str, tuple[int, float, float]] = {
    "kill": (4, 0.0, 2.0),
    "terminate": (2, 0.0, 1.0),
    "stop": (3, LEASE + 1, LEASE + 3),
    "restart": (3, 0.3, 1.5),
    "outage": (1, LEASE + 1, LEASE + 2),
    "backends": (3, 0.0, 0.0),
    "hold_executions": (4, 1.0, 6.0),
    "hold_dead": (2, 5 * LEASE, 7 * LEASE),
    "hold_queue": (2, 1.0, 4.0),
    "hold_driver": (2, 1.0, 4.0),
    "lock_records": (4, 1.0, 3.0),
    "short_statements": (1, 1.0, 3.0),
    "full": (1, 1.0, 4.0),
    "pause_queue": (2, 0.5, 3.0),
    "burst": (4, 1.0, 5.0),
}


def plan(
    seed: int, seconds: float, only: frozenset[str] = frozenset(), without: frozenset[str] = frozenset()
) -> list[Step]:
    """One disturbance after the other, some while others last. only: kinds to choose from; none = all. without: kinds
    that cannot be had here."""
    lots = random.Random(seed)
    kinds = [each for each in KINDS if not only or each in only]
    weights = [KINDS[each][0] for each in kinds]
    steps: list[Step] = []
    at = QUIET
    while at < seconds:
        what = lots.choices(kinds, weights)[0]
        _, shortest, longest = KINDS[what]
        step = Step(at, what, lots.uniform(shortest, longest), lots.randrange(DRIVERS), lots.random())
        at += lots.uniform(0.3, 3.0)
        if what not in without:
            steps.append(step)
    return steps
