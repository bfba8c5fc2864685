"""What each node is given: in which scope an output, a turn or a variable is found. Trusts what it is given.

A value read from another region is found by how many scopes outwards it is (Read.up), and one from inside a loop that
is over by its Export.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from dray.cluster.graph import order
from dray.cluster.graph.draft import Draft
from dray.cluster.graph.types import HEADER, LOOPS, Back, Read

Reads: TypeAlias = dict[str, tuple[Read, ...]]


class Values:
    """nodes: as they are stored. home: id -> its innermost region. Once all edges are in their regions."""

    def __init__(self, nodes: Mapping[str, dict[str, Any]], home: Mapping[str, Draft], drafts: Sequence[Draft]) -> None:
        self._nodes = nodes
        self._home = home
        self._drafts = drafts
        self._position = {node_id: position for position, node_id in enumerate(nodes)}
        self._earlier: dict[Draft, dict[int, set[int]]] = {}
        self._find_earlier()

    def rank(self, draft: Draft) -> list[int]:
        return draft.rank(self._position)

    def reads(self, node_id: str) -> Reads:
        needs = self._nodes[node_id]["needs"]
        found = {kind: tuple(self._read(node_id, each) for each in needs[kind]) for kind in ("nodes", "inputs")}
        inwards = sorted(needs["vars"], key=self._place) if len(needs["vars"]) > 1 else needs["vars"]
        variables = [read for each in inwards for read in self._variable(node_id, each)]
        found["vars"] = tuple(sorted(variables, key=lambda read: -read.up))  # what is set further inside is newer
        return found

    def ways_back(self, draft: Draft) -> list[Back]:
        """The one that counts last."""
        rank = draft.rank(self._position)
        ways = sorted(draft.backs, key=lambda way: (rank[draft.edges[way[0]].source], self._position[way[1]]))
        return [Back(edge, self._seen(draft, source)[1]) for edge, source in ways]

    def _place(self, node_id: str) -> list[int]:
        """For the question which of several nodes counts: the later one by this. A region counts as one node."""
        here = self._home[node_id]
        index, found = here.local[node_id], []
        while True:
            found.append(here.rank(self._position)[index])
            if here.parent is None:
                return found[::-1]
            here, index = here.parent, here.place

    def _read(self, reader: str, wanted: str) -> Read:
        at = self._home[reader]
        own = self._own_region(wanted)
        if own is not None and at.is_inside(own):  # a loop node, read in its body: the turn's index and item
            return Read(at.depth - own.depth, HEADER, wanted)
        home, slot = self._seen(at, wanted)
        return Read(at.depth - home.depth, slot, wanted)

    def _seen(self, at: Draft, wanted: str) -> tuple[Draft, int]:
        """Where an output is seen from a region: in that or one around it, and its slot there."""
        home = self._home[wanted]
        slot = home.local[wanted]
        while not at.is_inside(home):
            slot = home.export(slot, stays=False)
            assert home.parent is not None
            home = home.parent
        return home, slot

    def _variable(self, reader: str, wanted: str) -> Iterator[Read]:
        """Where a variable's value may be: in its own scope, and as earlier turns left it in those around."""
        at, home = self._home[reader], self._home[wanted]
        slot = home.local[wanted]
        named = self._nodes[wanted]["config"].get("variable_name")
        name = named if isinstance(named, str) and "{{" not in named else None
        together, setter, item = self._met(reader, wanted)
        while True:
            if at.is_inside(home) and (home is not together or setter in self._earlier[home].get(item, {item})):
                yield Read(at.depth - home.depth, slot, wanted)
            if home.kind in ("root", "each"):  # the items of a foreach have no order, so what they set stays inside
                return
            home.names[slot] = name
            slot = home.export(slot, stays=True)
            assert home.parent is not None
            home = home.parent

    def _met(self, reader: str, setter: str) -> tuple[Draft, int, int]:
        """The innermost region that both are in, and the nodes of it that are, or stand for, setter and reader."""
        home = self._home[setter]
        index = home.local[setter]
        while not self._home[reader].is_inside(home):
            assert home.parent is not None
            index, home = home.place, home.parent
        return home, index, home.standing_for(reader, self._home[reader])

    def _find_earlier(self) -> None:
        """Of the set_variable nodes in one loop with a reader those that surely run before it in the same turn. What
        others set is of an earlier turn, also where they happen to have run."""
        asked: dict[Draft, dict[int, set[int]]] = {draft: {} for draft in self._drafts}
        for reader, node in self._nodes.items():
            for setter in node["needs"]["vars"]:
                draft, index, item = self._met(reader, setter)
                asked[draft].setdefault(item, set()).add(index)
        for draft, pairs in asked.items():
            out = draft.out()
            wanted = {item: frozenset(setters) for item, setters in pairs.items()}
            before = order.ancestors(out, order.topological(out), wanted, sys.maxsize) if pairs else None
            self._earlier[draft] = {item: {*found, item} for item, found in (before or {}).items()}

    def _own_region(self, node_id: str) -> Draft | None:
        home = self._home[node_id]
        inner = home.inner.get(home.local[node_id])
        return inner if inner is not None and inner.kind in LOOPS else None
