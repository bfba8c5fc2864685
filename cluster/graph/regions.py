"""Finds the loops of a graph: regions that nest, each with one entry and, without its back edges, no cycle.

A region is the body of a loop node (kind each, for or while), or a cycle that a condition closes (kind cycle). Its
header is the loop node, which itself stands in the region around it, or the node at which the cycle is entered, which
is part of it. Found from outside inwards: every knot (strongly connected component) is one region; its back edges taken
away, the knots that remain in it are the next ones. So a level of nesting costs one pass over the nodes in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from dray.cluster.graph import loops as graph_loops
from dray.cluster.graph import order
from dray.cluster.graph.labels import ERROR_LABELS, SELECTING, TRUTH_LABELS
from dray.cluster.graph.loops import BODY, shown
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.source import Findings, RawGraph

ROOT = -1  # home and parent: in no loop
MAX_NESTING = 50
SHOWN = 12

LabelledEdge = tuple[int, int, str | None]
Added = tuple[int, int, str | None, str]  # a derived edge: source, target, label, role


@dataclass(slots=True)
class Region:
    """kind: each, for, while or cycle. header: a node. parent: index of the region around it, or ROOT.

    depth: 1 for one that is in no other. nodes: those whose innermost region this is.
    """

    kind: str
    header: int
    parent: int
    depth: int
    nodes: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Regions:
    """found: parents before children. home: node -> index of its innermost region. roles: edge -> "body" or "back"."""

    found: list[Region]
    home: list[int]
    roles: list[str | None]

    def around(self, region: int) -> list[int]:
        """The region and those around it, innermost first."""
        chain = []
        while region != ROOT:
            chain.append(region)
            region = self.found[region].parent
        return chain

    def common(self, one: int, other: int) -> int:
        """The innermost region that both are in, or are."""
        if one == other:
            return one
        around = set(self.around(one))
        return next((each for each in self.around(other) if each in around), ROOT)

    def is_inside(self, node: int, region: int) -> bool:
        return region in self.around(self.home[node])


class Search:
    """One pass. virtual: edges beside those of the graph, which only say what belongs together."""

    def __init__(
        self,
        graph: RawGraph,
        edges: Sequence[LabelledEdge],
        virtual: Sequence[tuple[int, int]],
        entry: int | None,
        loose: frozenset[int],
        findings: Findings,
    ) -> None:
        self.loose = loose
        self.graph = graph
        self.edges = edges
        self.entry = entry
        self.findings = findings
        self.regions = Regions([], [ROOT] * len(graph.nodes), [None] * len(edges))
        self.entered: dict[int, int] = {}  # loop node -> where the knot that it is in is entered
        self.told: set[int] = set()  # nodes of knots that are refused
        self._out: list[list[int]] = [[] for _ in graph.nodes]  # numbers of edges; those of `virtual` come last
        self._into: list[list[int]] = [[] for _ in graph.nodes]
        self._ends = [(source, target) for source, target, _ in edges] + list(virtual)
        for number, (source, target) in enumerate(self._ends):
            self._out[source].append(number)
            self._into[target].append(number)
        self._removed = bytearray(len(self._ends))

    def run(self) -> None:
        todo: deque[tuple[Sequence[int], int]] = deque([(range(len(self.graph.nodes)), ROOT)])
        while todo:
            nodes, around = todo.popleft()
            for knot in self._knots(nodes):
                inner = self._resolve(knot, around)
                if inner is not None:
                    todo.append(inner)
                else:
                    self.told.update(knot)
        for node, home in enumerate(self.regions.home):
            if home != ROOT:
                self.regions.found[home].nodes.append(node)

    def check_loops(self) -> None:
        """Every loop node has a body."""
        headers = {region.header for region in self.regions.found if region.kind != "cycle"} | self.told | self.loose
        for position, node in enumerate(self.graph.nodes):
            if not self.graph.whole or not graph_loops.is_loop(node) or position in headers:
                continue
            if position in self.entered:
                self._refuse_late_entry(position, self.entered[position])
            else:
                message = f"is a loop without a body, nothing leads back to it: draw {graph_loops.picture(node)}"
                self.findings.problem(node.place, message)

    def _refuse_late_entry(self, loop: int, entry: int) -> None:
        node = self.graph.nodes[loop]
        where = quoted(self.graph.nodes[entry].id)
        if entry == self.entry:
            what = f"entry_node_id {where} is in the body of the loop {quoted(node.id)}: name the loop"
            self.findings.problem("graph", what)
            return
        self.findings.problem(node.place, f"this loop is entered at {where}, in its body: lead the way in to the loop")

    def _knots(self, nodes: Sequence[int]) -> list[list[int]]:
        """Among these nodes, over the edges that are left: in the order of their smallest nodes."""
        if len(nodes) == len(self.graph.nodes) and not any(self._removed):
            found = order.knots([[self._ends[number][1] for number in out] for out in self._out])
            return sorted(sorted(knot) for knot in found)
        local = {node: position for position, node in enumerate(nodes)}
        out = [
            [
                local[self._ends[number][1]]
                for number in self._out[node]
                if self._ends[number][1] in local and not self._removed[number]
            ]
            for node in nodes
        ]
        return sorted(sorted(nodes[each] for each in knot) for knot in order.knots(out))

    def _resolve(self, nodes: list[int], around: int) -> tuple[Sequence[int], int] | None:
        """Make the region of one knot; gives where to look on, and in which region."""
        knot = frozenset(nodes)
        depth = 1 if around == ROOT else self.regions.found[around].depth + 1
        if depth > MAX_NESTING:
            self.findings.problem("graph", f"its loops are nested more than {MAX_NESTING} deep: use a sub_workflow")
            return None
        entries = self._entries(nodes, knot, around)
        header = entries[0] if len(entries) == 1 else self._header(entries, nodes, knot)
        if header is None:
            return None
        if not graph_loops.is_loop(self.graph.nodes[header]):
            self.entered.update((node, header) for node in nodes if graph_loops.is_loop(self.graph.nodes[node]))
            return self._cycle(nodes, knot, header, around, depth)
        body = self._body(header, knot)
        if body is None:
            return None
        if len(body) + 1 < len(knot):  # what its exit leads to leads back to it too: a cycle around the loop
            return self._cycle(nodes, knot, header, around, depth, body)
        self._loop(header, body, around, depth)
        return sorted(body), len(self.regions.found) - 1

    def _entries(self, nodes: list[int], knot: frozenset[int], around: int) -> list[int]:
        """Where the knot is entered from outside, or begins."""
        begins = {self.entry} if around == ROOT else {self.regions.found[around].header}
        return [
            node
            for node in nodes
            if node in begins or any(self._ends[number][0] not in knot for number in self._into[node])
        ]

    def _header(self, entries: list[int], nodes: list[int], knot: frozenset[int]) -> int | None:
        """The header of a knot that has not exactly one entry, if it can be told."""
        loops = [node for node in entries or nodes if graph_loops.is_loop(self.graph.nodes[node])]
        if not entries:  # nothing leads into it, so the execution begins here
            return loops[0] if loops else next((n for n in nodes if self.graph.nodes[n].type == "trigger"), nodes[0])
        names = [self.graph.nodes[node].id for node in entries]
        if len(loops) == 1:
            loop = self.graph.nodes[loops[0]]
            for node in entries:
                if node != loops[0]:
                    self._refuse_way_in(node, knot, loop.id)
            return None
        ways = " and ".join(repr(shown(name)) for name in names[:SHOWN])
        self.findings.problem(
            "graph", f"the cycle {self._drawn(nodes)} is entered at {ways}: let all ways in lead to one of them"
        )
        return None

    def _refuse_way_in(self, node: int, knot: frozenset[int], loop: str) -> None:
        name = self.graph.nodes[node].id
        if node == self.entry:
            self.findings.problem(
                "graph", f"entry_node_id {quoted(name)} is in the body of the loop {quoted(loop)}: name the loop"
            )
        for number in self._into[node]:
            source = self._ends[number][0]
            if source not in knot:
                place = f"edge {quoted(self.graph.nodes[source].id)} -> {quoted(name)}"
                self.findings.problem(
                    place, f"leads into the body of the loop {quoted(loop)} from outside: lead it to the loop"
                )

    # Loop nodes

    def _body(self, header: int, knot: frozenset[int]) -> set[int] | None:
        """The nodes that a loop node repeats, and the labels of its edges settled; None if it is refused."""
        own = [number for number in self._out[header] if not self._removed[number]]
        labelled = any(self.edges[number][2] == BODY for number in own)
        into_body: list[int] = []
        leaving: list[int] = []
        for number in own:
            label = self.edges[number][2]
            leads_back = self._ends[number][1] in knot
            is_body = label == BODY or (label is None and not labelled)
            if leads_back:
                (into_body if is_body else leaving).append(self._ends[number][1])
        outside = self._reach(leaving, header, knot)
        body = self._reach(into_body, header, knot) - outside
        node = self.graph.nodes[header]
        if not body:
            way = "its edge 'done' leads into its own body" if into_body else "no edge to a body leaves it"
            self.findings.problem(node.place, f"{way}: draw {graph_loops.picture(node)}")
            return None
        if not labelled and len(set(into_body)) > 1 and all(self._ends[n][1] in body for n in own):
            ways = "so all of them are its body"
            self.findings.warn(node.place, f"all its edges lead back to it, {ways}: label them 'body' and 'done'")
        return body

    def _reach(self, starts: Sequence[int], header: int, knot: frozenset[int]) -> set[int]:
        seen = set(starts) - {header}
        todo = list(seen)
        while todo:
            for number in self._out[todo.pop()]:
                target = self._ends[number][1]
                if target in knot and target != header and target not in seen and not self._removed[number]:
                    seen.add(target)
                    todo.append(target)
        return seen

    def _loop(self, header: int, body: set[int], around: int, depth: int) -> None:
        index = len(self.regions.found)
        self.regions.found.append(Region(graph_loops.kind(self.graph.nodes[header]), header, around, depth))
        for node in body:
            self.regions.home[node] = index
        self._close(header, body)
        for number in self._out[header]:
            if self._ends[number][1] in body:
                self._removed[number] = 1
                self.regions.roles[number] = "body"

    # Cycles

    def _cycle(
        self,
        nodes: list[int],
        knot: frozenset[int],
        header: int,
        around: int,
        depth: int,
        body: set[int] | None = None,
    ) -> tuple[Sequence[int], int] | None:
        """body: of the loop node that is the header, whose own back edges are not the cycle's."""
        if not self._can_end(nodes, knot):
            late = [node for node in nodes if node != header and graph_loops.is_loop(self.graph.nodes[node])]
            if late and graph_loops.is_loop(self.graph.nodes[header]) is False:
                for node in late:
                    self._refuse_late_entry(node, header)
                return None
            drawn = self._drawn(nodes, header)
            way = "let a condition in it choose between going on and an edge out of it, or use a loop node"
            self.findings.problem("graph", f"has a cycle that nothing ends: {drawn}; {way}")
            return None
        index = len(self.regions.found)
        self.regions.found.append(Region("cycle", header, around, depth))
        for node in nodes:
            self.regions.home[node] = index
        self._close(header, knot.difference(body or ()))
        return nodes, index

    def _can_end(self, nodes: list[int], knot: frozenset[int]) -> bool:
        """Whether some turn can take no edge back: a choice or a failure leads out of it, or to nowhere."""
        if not self.loose.isdisjoint(knot):
            return True
        for node in nodes:
            inside: set[str | None] = set()
            for number in self._out[node]:
                if number >= len(self.edges):
                    continue
                _, target, label = self.edges[number]
                chosen = label == "failed" or (label is not None and self.graph.nodes[node].type in SELECTING)
                if target not in knot and chosen:
                    return True
                if target in knot:
                    inside.add(label)
            chooses = self.graph.nodes[node].type in SELECTING and inside and None not in inside
            if chooses and not inside >= TRUTH_LABELS and inside - ERROR_LABELS and "default" not in inside:
                return True
        return False

    def _close(self, header: int, nodes: frozenset[int] | set[int]) -> None:
        """Take the back edges away."""
        for number in self._into[header]:
            if self._ends[number][0] in nodes and not self._removed[number]:
                self._removed[number] = 1
                if number < len(self.edges):
                    self.regions.roles[number] = "back"

    # Words

    def _drawn(self, nodes: list[int], start: int | None = None) -> str:
        local = {node: position for position, node in enumerate(nodes)}
        out = [[local[t] for n in self._out[node] if (t := self._ends[n][1]) in local] for node in nodes]
        cycle = order.cycle_in(out, set(range(len(nodes))), local.get(start, 0) if start is not None else 0)
        names = [shown(self.graph.nodes[nodes[each]].id) for each in [*cycle, cycle[0]]]
        if len(names) > SHOWN:
            names[SHOWN // 2 : -SHOWN // 2] = [f"({len(names) - SHOWN} more)"]
        return " -> ".join(names)
