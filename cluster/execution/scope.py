"""One run of a region, and one run of a loop: what cluster/execution/scopes.py moves on."""

from __future__ import annotations

from typing import Any

from dray.cluster.execution.plan import Exits, Plan
from dray.cluster.graph.types import Node, Region


class Scope:
    """One run of a region. turn: 0 for the first. header: JSON text of the turn's index and item."""

    __slots__ = (
        "header", "left", "loop", "loops", "number", "outputs", "parent", "plan", "prefix", "region",
        "turn",
    )  # fmt: skip

    def __init__(
        self,
        region: Region,
        number: int,
        prefix: str,
        loop: Loop | None = None,
        turn: int = 0,
        header: str | None = None,
    ) -> None:
        self.region = region
        self.turn = turn
        self.number = number
        self.prefix = prefix
        self.loop = loop
        self.parent = loop.scope if loop is not None else None
        self.header = header
        self.plan = Plan(region)
        self.outputs: dict[int, str] = {}  # slot of a value -> JSON text, as long as somebody wants it
        self.left = list(region.consumers)  # how many nodes still want each output
        self.loops: dict[int, Loop] = {}  # those that are under way


class Loop:
    """One run of a loop. turn: the current one, or of a foreach the next. exits: taken by the last turn."""

    __slots__ = (
        "count", "exits", "failures", "items", "lists", "node", "open", "region", "results", "scope", "size",
        "turn",
    )  # fmt: skip

    def __init__(self, scope: Scope, node: Node) -> None:
        assert node.inner is not None
        self.scope = scope
        self.node = node
        self.region = node.inner
        self.turn = 0
        self.items: list[Any] | None = None
        self.count = 0
        self.open: dict[int, Scope] = {}
        self.exits: Exits = {}
        self.results: list[str] = []
        self.failures: list[tuple[int, str]] = []
        self.lists: dict[int, list[str]] = {}  # of a foreach: slot around it -> the items' outputs
        self.size = 0  # of results and lists


def outwards(scope: Scope, levels: int) -> Scope:
    for _ in range(levels):
        assert scope.parent is not None
        scope = scope.parent
    return scope
