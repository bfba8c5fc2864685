"""What one execution has recorded, how much of that is in the database, and which nodes are held until it is. Pure.

A node is started when everything is committed that was recorded before it was decided to start it. Whatever its being
live follows from is among that, and so is what it reads. The outcomes of one execution are committed in the order in
which they were recorded, so a number is enough.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from dray.cluster.execution.commands import Record
from dray.store.records import Child, Outcome


class Ledger:
    """Nodes are named by slot."""

    __slots__ = ("_committed", "_held", "_recorded")

    def __init__(self) -> None:
        self._recorded = 0
        self._committed = 0
        self._held: deque[tuple[int, Sequence[int]]] = deque()

    def record(self, outcome: Outcome, child: Child | None = None, signal: int | None = None) -> Record:
        self._recorded += 1
        return Record(outcome, self._recorded, child, signal)

    def derived(self, outcome: Outcome) -> Record:
        """The same for one that nothing waits for, because it follows from what is recorded without it."""
        return Record(outcome, self._recorded)

    @property
    def is_open(self) -> bool:
        """Whether something is recorded that is not committed."""
        return self._committed < self._recorded

    def hold(self, nodes: Sequence[int]) -> None:
        """Until all that is recorded so far is committed."""
        self._held.append((self._recorded, nodes))

    def committed(self, number: int) -> list[int]:
        """Everything up to this one is. Gives the nodes that were held for that."""
        self._committed = max(self._committed, number)
        free: list[int] = []
        while self._held and self._held[0][0] <= number:
            free += self._held.popleft()[1]
        return free
