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

    def is_inside(self, outer: Draft) -> bool:
        """Whether it is that region, or in it."""
        here: Draft | None = self
        while here is not None and here is not outer:
            here = here.parent
        return here is outer

    def standing_for(self, node_id: str, home: Draft) -> int:
        """The node of this region that is, or stands for, that one. home: where it is."""
        while home is not self:
            if home.parent is self:
                return home.place
            assert home.parent is not None
            home = home.parent
        return self.local[node_id]

    def out(self) -> list[list[int]]:
        """The targets of each node's edges, but for those that leave the region."""
        out: list[list[int]] = [[] for _ in self.ids]
        for edge in self.edges:
            if edge.target >= 0:
                out[edge.source].append(edge.target)
        return out

    def rank(self, position: Mapping[str, int]) -> list[int]:
        """Per node its place by the longest way to it, of equals by the list of all nodes. Once all edges are here."""
        if not self._rank:
            out = self.out()
            far = order.distances(out)
            places = sorted(range(len(out)), key=lambda node: (far[node], position[self.ids[node]]))
            self._rank = [0] * len(out)
            for place, node in enumerate(places):
                self._rank[node] = place
        return self._rank
