"""A region of the graph in memory, in the making: what load.py puts together before it can make what never changes."""

from __future__ import annotations

from collections.abc import Mapping

from dray.cluster.graph import order
from dray.cluster.graph.types import Edge


class Draft:
    """A region in the making. parent: the one around it, and `place` this one's node there."""

    def __init__(self, kind: str, header: str, parent: Draft | None) -> None:
        self.kind = kind
        self.header = header
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.ids: list[str] = []
        self.local: dict[str, int] = {}  # id -> index; of a cycle, its header stands for it in the region around it
        self.inner: dict[int, Draft] = {}
        self.edges: list[Edge] = []
        self.starts: list[int] = []
        self.exits = 0
        self.exports: dict[tuple[int, bool], int] = {}  # slot of a value inside, is a variable -> slot outside
        self.names: dict[int, str | None] = {}  # slot of a variable inside -> its name
        self.backs: list[tuple[int, str]] = []  # number of an edge, id of the node that it leaves
        self.slots = 0
        self._rank: list[int] = []

    def add(self, node_id: str) -> int:
        self.local[node_id] = len(self.ids)
        self.ids.append(node_id)
        return self.local[node_id]

    @property
    def place(self) -> int:
        assert self.parent is not None
        return self.parent.local[self.header]

    def export(self, slot: int, stays: bool) -> int:
        """The slot, in the region around this one, of a value of this one."""
        assert self.parent is not None
        if (slot, stays) not in self.exports:
            self.exports[slot, stays] = self.parent.slots
            self.parent.slots += 1
        return self.exports[slot, stays]

    def rank(self, position: Mapping[str, int]) -> list[int]:
        """Per node its place by the longest way to it, of equals by the list of all nodes. Once all edges are here."""
        if not self._rank:
            out: list[list[int]] = [[] for _ in self.ids]
            for edge in self.edges:
                if edge.target >= 0:
                    out[edge.source].append(edge.target)
            far = order.distances(out)
            places = sorted(range(len(out)), key=lambda node: (far[node], position[self.ids[node]]))
            self._rank = [0] * len(out)
            for place, node in enumerate(places):
                self._rank[node] = place
        return self._rank
