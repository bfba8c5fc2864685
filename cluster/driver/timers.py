"""When which execution wants to be called again."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from dray.cluster.execution.run import ExecutionRun

KEPT = 10_000  # timers, before they are looked through for those of ended executions


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ExecutionRun, int | None]] = []
        self._numbers = itertools.count()
        self._limit = KEPT

    @property
    def next(self) -> float | None:
        """When the first one is due."""
        return self._heap[0][0] if self._heap else None

    def set(self, at: float, run: ExecutionRun, node: int | None) -> None:
        heapq.heappush(self._heap, (at, next(self._numbers), run, node))

    def due(self, now: float) -> Iterator[tuple[ExecutionRun, int | None]]:
        while self._heap and self._heap[0][0] <= now:
            _, _, run, node = heapq.heappop(self._heap)
            yield run, node
        if len(self._heap) > self._limit:  # the time-outs of executions that ended long before them
            self._heap = [timer for timer in self._heap if not timer[2].closed]
            heapq.heapify(self._heap)
            self._limit = max(KEPT, 2 * len(self._heap))
