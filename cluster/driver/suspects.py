"""Executions under which drivers died: they run one at a time, before any of them is condemned.

Each death counts against all that the driver held, of which one may be the cause. So an execution is then begun alone:
when nothing else runs, and nothing else is begun before it is over or parked. Who dies then is the culprit. Those that
wait for that stand apart in the database, where no crash counts against them. Where a driver and what it runs are one
process, that begins after the second death; where nodes run elsewhere, they are rarely the cause of its death and may
run for long, so it begins at the last death that the limit allows.
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
    limit = options.policy.crash_limit
    return (SUSPECT if options.one_process else limit) <= claim.crash_count <= limit


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
