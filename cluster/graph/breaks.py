"""Finds the regions of a graph that has break and continue in it.

Both lead nowhere, and so do the nodes on the way to them; they belong to the body all the same. So a first pass finds
the loops without them, and the second has an edge from each of them to its loop's header.
"""

from __future__ import annotations

from collections.abc import Sequence

from dray.cluster.graph import loops as graph_loops
from dray.cluster.graph import order
from dray.cluster.graph.loops import shown
from dray.cluster.graph.regions import ROOT, LabelledEdge, Regions, Search
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.source import Findings, RawGraph


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
        searches = [Search(graph, edges, [], entry, loose, Findings())]
        searches[0].run()
        if bodies := _bodies_that_lead_nowhere(graph, edges, searches[0]):
            searches.insert(0, Search(graph, edges, bodies, entry, loose, Findings()))
            searches[0].run()
        if entry in leaving:
            kind = graph.nodes[entry].type
            what = f"entry_node_id {quoted(graph.nodes[entry].id)} is a {kind}, which ends a turn that has not begun"
            findings.problem("graph", f"{what}: name the node at which the execution begins")
        else:
            virtual = _loops_left(graph, searches, leaving, findings)
    before = len(findings.problems)
    search = Search(graph, edges, virtual, entry, loose, findings)
    search.run()
    search.check_loops()
    if len(findings.problems) == before:
        for node in leaving:
            if virtual and not _loops_around(search.regions, search.regions.home[node]):
                _refuse_outside(graph, node, findings)
    return search.regions


def _bodies_that_lead_nowhere(graph: RawGraph, edges: Sequence[LabelledEdge], search: Search) -> list[tuple[int, int]]:
    """Edges back that are missing where all of a loop's body ends by break or continue."""
    headers = {region.header for region in search.regions.found if region.kind != "cycle"}
    return [
        (target, source)
        for source, target, label in edges
        if label == graph_loops.BODY and graph_loops.is_loop(graph.nodes[source]) and source not in headers
    ]


def _loops_around(regions: Regions, inside: int) -> list[int]:
    """The loop nodes, the innermost first."""
    return [regions.found[each].header for each in regions.around(inside) if regions.found[each].kind != "cycle"]


def _refuse_outside(graph: RawGraph, node: int, findings: Findings) -> None:
    rest = "a cycle without a loop node is left by an edge of its condition"
    place = graph.nodes[node].place
    findings.problem(place, f"is in no loop: every way to it must come from the body of one ({rest})")


def _loops_left(
    graph: RawGraph, searches: Sequence[Search], leaving: Sequence[int], findings: Findings
) -> list[tuple[int, int]]:
    """For each break and continue, an edge to the loop in whose body it is, the innermost one. searches: of these the
    first that knows it."""
    known = [(search.regions, _reached_inside(graph, search)) for search in searches]
    virtual = []
    for node in leaving:
        raw = graph.nodes[node]
        loops = next((found for regions, inside in known if (found := _loops_around(regions, inside[node]))), [])
        if not loops:
            if graph.whole and not any(search.told for search in searches):
                _refuse_outside(graph, node, findings)
            continue
        virtual.append((node, loops[0]))
        label = raw.config.get("loop_label")
        named = loops if not label else [each for each in loops if label in graph_loops.loop_names(graph.nodes[each])]
        if not named:
            around = ", ".join(repr(shown(graph.nodes[each].id)) for each in loops)
            findings.problem(
                raw.place, f"config.loop_label: no loop around it is called {quoted(label)}: it is in {around}"
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
            leads_in = regions.roles[number] == "body" or (node in bodies and edges[number][2] == graph_loops.BODY)
            way = bodies[node] if leads_in else inside[node]
            before = came[target]
            came[target] = way if before is None else regions.common(before, way)
    return inside
