"""Executions under which drivers died, where a driver and what it runs are one process: they run one at a time.

Each death counts against all that the process ran, of which one may be the cause. So after the second one an execution
is begun alone: when nothing else runs, and nothing else is begun before it is over or parked. Who dies then is the
culprit. Those that wait for that stand apart in the database, where no crash counts against them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import NamedTuple

from dray.cluster.driver.claimer import Found
from dray.cluster.driver.options import DriverOptions
from dray.store.records import Claimed

SUSPECT = 2  # deaths in a row, without anything recorded between them


class BeginsAlone(NamedTuple):
    """It stands apart no more, and is to begin."""

    found: Found


def is_suspect(claim: Claimed, options: DriverOptions) -> bool:
    """What has more deaths than the limit is not run at all."""
    return options.one_process and SUSPECT <= claim.crash_count <= options.policy.crash_limit


class Suspects:
    """waiting: in the order of their claims. running: the id of the one that is run, or about to be."""

    def __init__(self) -> None:
        self.waiting: deque[Found] = deque()
        self.running: str | None = None
        self._begun = False

    def next(self, runs: Container[str], is_idle: bool) -> Found | None:
        """The one that is to begin now. runs: the executions that this driver runs. is_idle: there is none."""
        if self.running is not None and self._begun and self.running not in runs:
            self.running = None
        if self.running is not None or not self.waiting or not is_idle:
            return None
        found = self.waiting.popleft()
        self.running, self._begun = found.claim.id, False
        return found

    def begins(self) -> None:
        self._begun = True

    @property
    def keep_others_out(self) -> bool:
        return bool(self.waiting) or self.running is not None
