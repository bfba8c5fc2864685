"""Finds the regions of a graph that has break and continue in it.

Both lead nowhere, and so do the nodes on the way to them; they belong to the body all the same. So a first pass finds
the loops without them, and the second has an edge from each of them to its loop's header.
"""

from __future__ import annotations

from collections.abc import Sequence

from dray.cluster.graph import loops as graph_loops
from dray.cluster.graph import order
from dray.cluster.graph.loops import shown
from dray.cluster.graph.models import quoted
from dray.cluster.graph.regions import ROOT, LabelledEdge, Regions, Search
from dray.cluster.graph.source import Findings, RawGraph


def find_regions(
    graph: RawGraph,
    edges: Sequence[LabelledEdge],
    entry: int | None,
    loose: frozenset[int],
    findings: Findings,
) -> Regions:
    """The loops of a graph; what is wrong with them goes to findings, and then the answer is of no use.

    loose: nodes with an edge that hangs in the air, of which nothing can be said.
    """
    leaving = [position for position, node in enumerate(graph.nodes) if node.type in graph_loops.LEAVING]
    virtual: list[tuple[int, int]] = []
    if leaving:
        first = Search(graph, edges, [], entry, loose, Findings())
        first.run()
        virtual = _loops_left(graph, first, leaving, findings)
    search = Search(graph, edges, virtual, entry, loose, findings)
    search.run()
    search.check_loops()
    return search.regions


def _loops_left(graph: RawGraph, search: Search, leaving: Sequence[int], findings: Findings) -> list[tuple[int, int]]:
    """For each break and continue, an edge to the loop in whose body it is, the innermost one."""
    regions = search.regions
    inside = _reached_inside(graph, search)
    virtual = []
    for node in leaving:
        raw = graph.nodes[node]
        loops = [
            regions.found[each].header for each in regions.around(inside[node]) if regions.found[each].kind != "cycle"
        ]
        if not loops:
            if graph.whole and not search.told:
                rest = "a cycle without a loop node is left by an edge of its condition"
                findings.problem(raw.place, f"is in no loop: every way to it must come from the body of one ({rest})")
            continue
        virtual.append((node, loops[0]))
        label = raw.config.get("loop_label")
        named = loops if not label else [each for each in loops if label in graph_loops.loop_names(graph.nodes[each])]
        if not named:
            known = ", ".join(repr(shown(graph.nodes[each].id)) for each in loops)
            findings.problem(
                raw.place, f"config.loop_label: no loop around it is called {quoted(label)}: it is in {known}"
            )
        elif raw.type == "break" and graph_loops.kind(graph.nodes[named[0]]) == "each":
            why = "its items run at the same time: use 'continue' to end this item, or a loop of type 'for'"
            findings.problem(raw.place, f"cannot end the foreach {quoted(graph.nodes[named[0]].id)}, {why}")
    return virtual


def _reached_inside(graph: RawGraph, search: Search) -> list[int]:
    """For each node the innermost region that every way to it comes from: its own, or where it hangs behind."""
    regions, edges = search.regions, search.edges
    out: list[list[int]] = [[] for _ in graph.nodes]
    came: list[int | None] = [None] * len(graph.nodes)
    bodies = {region.header: index for index, region in enumerate(regions.found) if region.kind != "cycle"}
    forward: list[list[int]] = [[] for _ in graph.nodes]
    for number, (source, target, _) in enumerate(edges):
        if regions.roles[number] != "back":
            out[source].append(target)
            forward[source].append(number)
    inside = list(regions.home)
    for node in order.topological(out):
        here = came[node]
        if inside[node] == ROOT and here is not None:
            inside[node] = here
        for number in forward[node]:
            target = edges[number][1]
            way = bodies[node] if regions.roles[number] == "body" else inside[node]
            before = came[target]
            came[target] = way if before is None else regions.common(before, way)
    return inside
