"""The edges of loops as they are stored, and what expressions call the turn of a loop."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile

from dray.cluster.graph import loops
from dray.cluster.graph.labels import SELECTING
from dray.cluster.graph.loops import BODY
from dray.cluster.graph.regions import ROOT, LabelledEdge, Regions
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.source import Findings, RawGraph


def region_names(graph: RawGraph, regions: Regions) -> list[Mapping[str, str]]:
    """Per region: name -> the path that it stands for in the expressions inside."""
    names: list[Mapping[str, str]] = []
    for region in regions.found:
        outer = names[region.parent] if region.parent != ROOT else {}
        names.append(outer if region.kind == "cycle" else loops.aliases(graph.nodes[region.header], outer))
    return names


def settle_loop_edges(graph: RawGraph, edges: list[LabelledEdge], regions: Regions, findings: Findings) -> None:
    """Labels of loop nodes as they are stored: "body" into the body, none where it is left. Tells of ways out of it."""
    settled: dict[LabelledEdge, str | None] = {}
    for (source, target, label), role in zip(edges, regions.roles, strict=True):
        stored = label
        if loops.is_loop(graph.nodes[source]) and label != "failed":
            stored = BODY if role == "body" else None
            if label == BODY and role is None:
                place = f"edge {quoted(graph.nodes[source].id)} -> {quoted(graph.nodes[target].id)}"
                findings.warn(
                    place, "does not lead back, so it is followed once, after the loop: lead it back to the loop"
                )
        if role is None:
            _tell_way_out(graph, regions, (source, target, label), findings)
        settled.setdefault((source, target, stored), role)
    edges[:] = settled
    regions.roles = list(settled.values())


def _tell_way_out(graph: RawGraph, regions: Regions, edge: LabelledEdge, findings: Findings) -> None:
    source, target, label = edge
    place = f"edge {quoted(graph.nodes[source].id)} -> {quoted(graph.nodes[target].id)}"
    if graph.nodes[source].type in loops.LEAVING:
        findings.warn(place, f"is never followed: a {graph.nodes[source].type} goes on at its loop")
        return
    if regions.home[source] == regions.home[target]:
        return
    outer = regions.common(regions.home[source], regions.home[target])
    left = list(takewhile(lambda each: each != outer, regions.around(regions.home[source])))
    each = next((regions.found[region] for region in left if regions.found[region].kind == "each"), None)
    if each is not None:
        loop = quoted(graph.nodes[each.header].id)
        why = "which ends when all its items have: lead it, or what follows it, back to the loop"
        findings.problem(place, f"leads out of the body of the foreach {loop}, {why}")
    elif left and _is_always_followed(graph, source, label):
        loop = quoted(graph.nodes[regions.found[left[0]].header].id)
        findings.warn(place, f"does not lead back to {loop}, so it is followed once, after the loop")


def _is_always_followed(graph: RawGraph, source: int, label: str | None) -> bool:
    return label is None or (label != "failed" and graph.nodes[source].type not in SELECTING)
