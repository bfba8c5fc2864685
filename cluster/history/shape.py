"""What a stored graph says about which node comes after which: read from its JSON alone.

A key names a node in a scope: `poll[3]/each[17]/call` is node `call` in item 17 of the foreach `each` in turn 3 of the
loop `poll`. `each[]` and `poll[3]` are what a loop decided, `each` that it is over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

ROOT = -1
_TURN = re.compile(r"^(.*)\[(\d*)\]$", re.DOTALL)


class Key(NamedTuple):
    """prefix: of its scope, "" for the outermost. turn: of a decision; None = it is none, -1 = for all turns."""

    prefix: str
    node: str
    turn: int | None

    @classmethod
    def of(cls, text: str) -> Key:
        prefix, slash, last = text.rpartition("/")
        found = _TURN.match(last)
        if found is None:
            return cls(prefix + slash, last, None)
        return cls(prefix + slash, found[1], int(found[2] or -1))

    @property
    def scope(self) -> tuple[str, str, int] | None:
        """(prefix around the loop, loop, turn); None: the outermost."""
        if not self.prefix:
            return None
        around = Key.of(self.prefix[:-1])
        return around.prefix, around.node, around.turn or 0


class Edge(NamedTuple):
    source: str
    target: str
    label: str | None
    role: str | None


class Region(NamedTuple):
    header: str
    kind: str  # each, for, while, cycle
    parent: int


class Shape:
    """One workflow version. regions: its loops. types, at_most_once: of its nodes."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        self.types: dict[str, str] = {each["id"]: each.get("type") or "" for each in graph["nodes"]}
        self.at_most_once = frozenset(each["id"] for each in graph["nodes"] if each.get("at_most_once"))
        found: Sequence[Mapping[str, Any]] = graph.get("regions") or ()
        self.regions = [
            Region(each["header"], each["kind"], ROOT if each["parent"] is None else each["parent"]) for each in found
        ]
        self._of_header = {each.header: index for index, each in enumerate(self.regions)}
        self._home = dict.fromkeys(self.types, ROOT)
        for index, each in enumerate(found):
            self._home.update(dict.fromkeys(each["nodes"], index))
        forks: Sequence[Mapping[str, Any]] = graph.get("forks") or ()
        self.has_forks = bool(forks)
        self.early_joins = frozenset(join["join"] for fork in forks for join in fork["joins"])
        self.leaves_early = any(kind in ("break", "continue") for kind in self.types.values())
        plain = [self._edge(each) for each in graph["edges"]]
        added = [self._edge(each) for each in graph.get("added") or ()]
        self.following: dict[str, list[str]] = {}  # over edges that are always followed, within one region
        for edge in plain:
            if edge.role is None and edge.label is None and self.home(edge.source) == self.home(edge.target):
                self.following.setdefault(edge.source, []).append(edge.target)
        self._into: dict[str, list[Edge]] = {}
        for edge in plain + added:
            if edge.role not in ("back", "body"):
                self._into.setdefault(edge.target, []).append(edge)

    @staticmethod
    def _edge(given: Mapping[str, Any]) -> Edge:
        return Edge(given["from"], given["to"], given.get("label"), given.get("role"))

    def is_loop(self, node: str) -> bool:
        """Whether it stands for turns. Of a cycle the header is also a node inside."""
        return node in self._of_header

    def region_of(self, key: Key) -> int:
        scope = key.scope
        return ROOT if scope is None else self._of_header.get(scope[1], ROOT)

    def kind(self, region: int) -> str:
        return "root" if region == ROOT else self.regions[region].kind

    def before(self, node: str, region: int) -> list[tuple[str, bool]]:
        """What comes directly before a node in this region: (node of the region, whether it stands for a loop)."""
        inside = self._chain(region)
        seen = [self._seen(edge.source, inside) for edge in self._into.get(node, ())]
        return [each for each in seen if each is not None and each[0] != node]

    def home(self, node: str) -> int:
        return self._home.get(node, ROOT)

    def _chain(self, region: int) -> list[int]:
        chain: list[int] = []
        while region != ROOT:
            chain.append(region)
            region = self.regions[region].parent
        return chain[::-1]

    def _seen(self, source: str, inside: list[int]) -> tuple[str, bool] | None:
        """A node as it is seen from a region: itself, or the loop there that it is in. None: it is further outside."""
        chain = self._chain(self.home(source))
        if chain[: len(inside)] != inside:
            return None
        if len(chain) > len(inside):
            return self.regions[chain[len(inside)]].header, True
        kind = self._of_header.get(source)
        return source, kind is not None and self.regions[kind].kind != "cycle"
