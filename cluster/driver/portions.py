"""How much one statement is given, where the server's statement_timeout may be shorter than a whole batch takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from dray.cluster import logs
from dray.store.errors import TookTooLong

FIRST_PAUSE = 60.0  # seconds until more is tried again, twice as long each time it was too much, up to
LONGEST_PAUSE = 3600.0

Answer = TypeVar("Answer")
Given = TypeVar("Given")
Row = TypeVar("Row")

log = logs.get("database")


class Portion:
    """At most `most` at once. A statement that took too long is made again with half of it, down to one; what went well
    is kept to, and doubled after a while. what: named in the log. Not for two threads at once."""

    def __init__(self, what: str, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._most = self._size = most
        self._clock = clock
        self._pause = FIRST_PAUSE
        self._grow_at = 0.0

    @property
    def size(self) -> int:
        if self._size < self._most and self._clock() >= self._grow_at:
            self._size = min(self._most, self._size * 2)
            self._grow_at = self._clock() + self._pause
        return self._size

    def halve(self, tried: int) -> None:
        """So many were too much."""
        self._size = max(1, tried // 2)
        self._grow_at = self._clock() + self._pause
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        log.warning("a statement took too long: half of it is tried", what=self._what, tried=tried, next=self._size)

    def ask(self, call: Callable[[int], Answer], most: int | None = None) -> tuple[Answer, int]:
        """call(n) for the largest n that does not take too long, at most `most`; and n. Raises TookTooLong where one
        does."""
        while True:
            count = self.size if most is None else min(most, self.size)
            try:
                return call(count), count
            except TookTooLong:
                if count <= 1:
                    raise
                self.halve(count)

    def each(self, call: Callable[[Sequence[Given]], list[Row]], given: Sequence[Given]) -> list[Row]:
        """What call() gives for all of them, in as many calls as it takes."""
        found: list[Row] = []
        at = 0
        while at < len(given):
            rows, count = self.ask(lambda n, at=at: call(given[at : at + n]), len(given) - at)  # type: ignore[misc]
            found += rows
            at += count
        return found
