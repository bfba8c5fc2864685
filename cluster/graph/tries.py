"""try, catch and finally: a chain of nodes, turned into edges that failures take.

    try -> A -> B -> catch -> C -> finally -> D

    try         leads to each catch of it and to the finally too, so that they run whatever becomes of the ways there
    A, B        "failed" to the catch; without one, to the finally
    catch       -> C becomes "caught": C runs only if something was; "passed" leads past it to the finally
    C           "failed" to the finally; so does the catch itself, where the failure is not of its type
    finally     fails again where it was given a failure, so its own failure is the surrounding block's

Blocks nest like brackets: a catch belongs to the innermost try before it that has none, a finally to the innermost one
that has none; a catch more is asked after the one before it. A block is in one region. A node that its author gave a
"failed" edge keeps it and gets no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dray.cluster.graph.labels import CAUGHT, PASSED
from dray.cluster.graph.order import reachable
from dray.cluster.graph.regions import MAX_NESTING, Added, LabelledEdge, Regions
from dray.cluster.graph.view import View
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.source import Findings, RawGraph

CATCH, PASS = "catch", "pass"
NEVER_FAIL = frozenset({"try", "trigger", "break", "continue"})


@dataclass(slots=True, eq=False)
class _Block:
    """Items of the view. catches: those that the protected part leads to. after: catch -> the one asked next."""

    start: int
    catches: list[int] = field(default_factory=list)
    after: dict[int, int] = field(default_factory=dict)
    end: int | None = None


@dataclass(slots=True, eq=False)
class _Part:
    """Where an item is: after the try of a block, or after one of its catches.

    outer: the part that the block is in. level: how many tries it is inside of. trying: this or the innermost part
    around it that is no catch's.
    """

    block: _Block
    catch: int | None
    outer: _Part | None
    depth: int
    level: int
    trying: _Part | None


def resolve_tries(
    graph: RawGraph, edges: list[LabelledEdge], regions: Regions, view: View, findings: Findings
) -> list[Added]:
    """The derived edges; labels of edges that leave a catch are settled in place."""
    if not any(node.type in ("try", "catch", "finally") for node in graph.nodes):
        return []
    search = _Search(graph, edges, view, findings)
    search.find()
    for block in search.blocks:
        if not block.catches and block.end is None:
            place = graph.nodes[block.start].place
            findings.warn(place, "protects nothing, no catch or finally follows it: draw try -> work -> catch")
    added = search.settled()
    stored: dict[LabelledEdge, str | None] = {}
    for edge, role in zip(edges, regions.roles, strict=True):
        stored.setdefault(search.relabelled.get(edge, edge), role)
    edges[:] = stored
    regions.roles = list(stored.values())
    return added


class _Search:
    def __init__(self, graph: RawGraph, edges: list[LabelledEdge], view: View, findings: Findings) -> None:
        self.graph = graph
        self.edges = edges
        self.view = view
        self.findings = findings
        self.blocks: list[_Block] = []
        self.relabelled: dict[LabelledEdge, LabelledEdge] = {}
        self._rank = view.rank
        self._after: dict[int, _Part | None] = {}  # item -> where its successors are
        self._added: list[Added] = []
        self._drawn = set(edges)
        self._failing = {source for source, _, label in edges if label == "failed"}  # nodes with an error edge
        self._failed_to = {target for _, target, label in edges if label == "failed"}
        self._out: dict[int, list[LabelledEdge]] = {}  # of catches
        for edge in edges:
            if graph.nodes[edge[0]].type == "catch":
                self._out.setdefault(edge[0], []).append(edge)

    def find(self) -> None:
        view = self.view
        for item in view.order:
            if not view.is_used(item):
                continue
            node = self.graph.nodes[view.node(item)]
            kind = node.type if item < view.nodes else "cycle"
            before = [self._after[source] for source, _ in view.into[item]]
            if kind in ("catch", "finally"):
                innermost = max(before, key=lambda part: part.depth if part else 0, default=None)
                self._check_one_try(item, before, innermost)
                self._after[item] = self._end(item, kind, innermost)
                continue
            part = _common(before)
            if kind == "try":
                block = _Block(item)
                self.blocks.append(block)
                part = self._inside(block, part, None)
                if part.level == MAX_NESTING + 1:
                    self.findings.problem(node.place, f"is inside of {MAX_NESTING} other tries: split the workflow")
            self._after[item] = part

    def _check_one_try(self, item: int, before: list[_Part | None], innermost: _Part | None) -> None:
        """The ways to a catch or finally come from one try, or from those around it."""
        around: list[_Block] = []
        part = innermost
        while part is not None:
            around.append(part.block)
            part = part.outer
        other = next((part.block for part in before if part is not None and part.block not in around), None)
        if other is None:
            return
        node = self.graph.nodes[self.view.node(item)]
        first, second = (quoted(self.graph.nodes[self.view.node(each.start)].id) for each in (around[0], other))
        message = f"ends two tries side by side, {first} and {second}: give each a {node.type} of its own"
        self.findings.problem(node.place, message)

    def _inside(self, block: _Block, outer: _Part | None, catch: int | None) -> _Part:
        depth = outer.depth + 1 if outer else 1
        level = (outer.level if outer else 0) + (catch is None)
        part = _Part(block, catch, outer, depth, level, outer.trying if outer else None)
        if catch is None:
            part.trying = part
        return part

    def _end(self, item: int, kind: str, part: _Part | None) -> _Part | None:
        """What a catch or finally ends, and where its successors are."""
        node = self.graph.nodes[self.view.node(item)]
        if part is None:
            if self.view.node(item) not in self._failed_to:
                draw = f"draw try -> work -> {kind} (in one loop body), or lead a 'failed' edge to it"
                self.findings.problem(node.place, f"is a {kind} without a try before it: {draw}")
            return None
        if kind == "catch":
            if part.trying is not None:
                part = part.trying
                part.block.catches.append(item)
            elif part.catch is not None:
                part.block.after[part.catch] = item
            return self._inside(part.block, part.outer, item)
        if part.block.end is not None:
            first = quoted(self.graph.nodes[self.view.node(part.block.end)].id)
            self.findings.problem(node.place, f"is a second finally of one try, beside {first}: lead both ways to one")
        part.block.end = item
        return part.outer

    # Edges

    def settled(self) -> list[Added]:
        done: set[int] = set()
        turned = [block for block in self.blocks if self._is_turned(block)]
        if turned:
            return []
        for block in self.blocks:
            for end in dict.fromkeys([*block.catches, *block.after.values(), *([block.end] if block.end else [])]):
                self._always(block.start, end)
        for block in reversed(self.blocks):  # inner ones first: theirs is the first to take a failure
            for catch in block.catches:
                self._lead(self._between(block.start, catch), catch, done)
            for catch in [*block.catches, *block.after.values()]:
                after = block.after.get(catch, block.end)
                if after is not None:
                    self._lead([catch], after, done)
                    self._pass(catch, after)
            if block.end is not None:
                self._lead(self._between(block.start, block.end), block.end, done)
        return self._added

    def _is_turned(self, block: _Block) -> bool:
        """Whether the finally comes before a catch of the same try, which is told."""
        ends = [*block.catches, *block.after.values()]
        if block.end is None or not any(self._rank[each] > self._rank[block.end] for each in ends):
            return False
        behind = reachable([[target for target, _ in out] for out in self.view.out], block.end)
        turned = [each for each in dict.fromkeys(ends) if each in behind]
        for catch in turned:
            node, end = self.graph.nodes[self.view.node(catch)], self.graph.nodes[self.view.node(block.end)]
            way = "draw try -> work -> catch -> finally"
            self.findings.problem(node.place, f"is a catch behind {quoted(end.id)}, the finally of its try: {way}")
        return bool(turned)

    def _always(self, start: int, end: int) -> None:
        edge = (self.view.node(start), self.view.node(end), None)
        if edge not in self._drawn:
            self._added.append((*edge, PASS))

    def _between(self, start: int, end: int) -> list[int]:
        """The items on a way from start to end, without both."""
        view, last = self.view, self._rank[end]
        reached: set[int] = set()
        todo = [start]
        while todo:
            for target, _ in view.out[todo.pop()]:
                if target not in reached and self._rank[target] < last:
                    reached.add(target)
                    todo.append(target)
        found: set[int] = set()
        todo = [end]
        while todo:
            for source, _ in view.into[todo.pop()]:
                if source in reached and source not in found:
                    found.add(source)
                    todo.append(source)
        return sorted(found)

    def _lead(self, items: Iterable[int], target: int, done: set[int]) -> None:
        """Failures of these items lead to the target, unless they lead elsewhere already."""
        for item in items:
            node = self.view.node(item)
            if item in done or (item < self.view.nodes and self._keeps(node)):
                continue
            done.add(item)
            self._added.append((node, self.view.node(target), "failed", CATCH))

    def _keeps(self, node: int) -> bool:
        return node in self._failing or self.graph.nodes[node].type in NEVER_FAIL

    def _pass(self, catch: int, after: int) -> None:
        """What follows the catch runs only if something was caught; `after` runs in any case."""
        node, goal = self.view.node(catch), self.view.node(after)
        drawn = False
        for source, target, label in self._out.get(node, ()):
            if target == goal and label in (None, PASSED):
                drawn = True
            elif target != goal and label is None:
                self.relabelled[source, target, label] = (source, target, CAUGHT)
        if not drawn:
            self._added.append((node, goal, PASSED, PASS))


def _common(parts: list[_Part | None]) -> _Part | None:
    """The innermost part that all are in."""
    if not parts:
        return None
    found = parts[0]
    for part in parts[1:]:
        other = part
        while found is not other:
            if (found.depth if found else 0) >= (other.depth if other else 0):
                found = found.outer if found else None
            else:
                other = other.outer if other else None
    return found
