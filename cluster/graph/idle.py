"""Nodes that never run, since nobody has connected them: parted from a graph before it is checked, and kept beside it.

With an entry these are all that it does not lead to; without one, in a graph that has edges, the nodes that have none
and are no triggers. They are stored as they were written, under "idle", for whoever edits the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dray.cluster.graph import order
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.source import Findings, RawEdge, RawGraph, RawNode

SHOWN = 12


def part_idle(graph: RawGraph, findings: Findings) -> dict[str, Any] | None:
    """Takes what never runs out of the graph; gives it in its stored form. graph.known still has the ids."""
    index = {node.id: position for position, node in enumerate(graph.nodes)}
    out: list[list[int]] = [[] for _ in graph.nodes]
    touched: set[int] = set()
    for edge in graph.edges:
        if edge.source not in index or edge.target not in index:
            return None  # what is missing proves nothing, and is told elsewhere
        source, target = index[edge.source], index[edge.target]
        out[source].append(target)
        touched |= {source, target}
    if not graph.whole:
        return None
    if graph.entry in index:
        idle = set(range(len(out))) - order.reachable(out, index[graph.entry])
    else:
        idle = {n for n, each in enumerate(graph.nodes) if touched and n not in touched and each.type != "trigger"}
    if not idle:
        return None
    graph.idle = [graph.nodes[each] for each in sorted(idle)]
    names = {node.id for node in graph.idle}
    edges = [each for each in graph.edges if not names.isdisjoint((each.source, each.target))]
    graph.nodes = [node for node in graph.nodes if node.id not in names]
    graph.edges = [each for each in graph.edges if names.isdisjoint((each.source, each.target))]
    _tell(graph, index, findings)
    return {"nodes": [_node(each) for each in graph.idle], "edges": [_edge(each) for each in edges]}


def _tell(graph: RawGraph, index: Mapping[str, int], findings: Findings) -> None:
    shown = ", ".join(quoted(node.id) for node in graph.idle[:SHOWN])
    more = f" and {len(graph.idle) - SHOWN} more" if len(graph.idle) > SHOWN else ""
    does, them = ("does", "it") if len(graph.idle) == 1 else ("do", "them")
    why = f"the entry {quoted(graph.entry)} does not lead there" if graph.entry in index else "no edge leads there"
    nodes = "node" if len(graph.idle) == 1 else "nodes"
    findings.warn("graph", f"{nodes} {shown}{more} {does} not run, {why}: draw an edge to {them}, or remove {them}")


def _node(node: RawNode) -> dict[str, Any]:
    return {"id": node.id, "type": node.type, "config": node.config, **node.options}


def _edge(edge: RawEdge) -> dict[str, Any]:
    return {"from": edge.source, "to": edge.target, "label": edge.label or None}
