"""The parts of a graph, as the page names them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LOOPS = {"loop", "for", "while", "repeat", "foreach"}
BACK = "<back>"


class Unclear(Exception):
    """The page refuses such a graph, or does not say what it means."""


@dataclass(eq=False)
class Edge:
    number: int
    source: str
    target: str
    label: str | None
    home: Region = field(init=False, repr=False)  # where its target is looked at
    origin: Region = field(init=False, repr=False)  # where its source decides about it
    unit: str | None = None  # what it leaves, seen from its home; None: the beginning of a turn
    into: str = ""  # what it enters there, or BACK


@dataclass(eq=False)
class Region:
    """The whole graph, the body of a loop, or a cycle. units: its own nodes, and the loops that stand in it."""

    head: str | None
    kind: str  # root, cycle, or the type of the loop node
    parent: Region | None = None
    units: list[str] = field(default_factory=list)
    inner: dict[str, Region] = field(default_factory=dict)
    above: dict[str, set[str]] = field(default_factory=dict)  # per unit: all units that are before it
    depth: dict[str, int] = field(default_factory=dict)  # per unit: the longest way to it, in edges

    def holds(self, other: Region | None) -> bool:
        while other is not None and other is not self:
            other = other.parent
        return other is self


@dataclass(eq=False)
class Fork:
    node: str
    mode: str  # any, n_of_m, sequential
    needed: int
    branches: list[tuple[Edge, set[str]]]  # the edge, and the units that only it leads to
    meet: str | None


def option(node: dict[str, Any], name: str) -> Any:
    return node[name] if name in node else node.get("config", {}).get(name)
