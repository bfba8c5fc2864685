"""The form of a graph that is stored, made from whatever shape its author wrote. Pure: no I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.registry import HandlerSpec
from cluster.errors import GraphInvalid
from cluster.graph_check import check
from cluster.graph_json import MAX_DEPTH, json_problems
from cluster.graph_regions import ROOT
from cluster.graph_schedule import read_schedule
from cluster.graph_source import Findings, read

FORMAT = 1
# Inline configs lie a few levels deeper in the canonical form, which must stay readable as a source.
DEPTH_ADDED = 4


def canonical(source: Any, handlers: Mapping[str, HandlerSpec]) -> dict[str, Any]:
    """The form of a graph that is stored, from any of the formats in circulation (graph_source lists them).

    The canonical form is itself such a format, and comes out as it went in. Warnings are in its "warnings".
    Raises GraphInvalid with every problem found.
    """
    findings = Findings()
    is_canonical = isinstance(source, dict) and source.get("format") == FORMAT
    findings.problems, sound = json_problems(source, "graph", MAX_DEPTH + DEPTH_ADDED if is_canonical else MAX_DEPTH)
    if not sound:
        raise GraphInvalid(findings.problems)
    graph = read(source, handlers, findings)
    checked = check(graph, handlers, findings)
    schedule = read_schedule(source, graph.nodes, findings)
    if findings.problems:
        raise GraphInvalid(list(dict.fromkeys(findings.problems)))
    ids = [node.id for node in graph.nodes]
    stored: dict[str, Any] = {"format": FORMAT, "entry": checked.entry}
    if graph.timeout is not None:
        stored["timeout"] = graph.timeout
    if graph.limits is not None:
        stored["limits"] = graph.limits
    if schedule is not None:
        stored["schedule"] = schedule
    stored["warnings"] = list(dict.fromkeys(findings.warnings))
    stored["nodes"] = [
        {"id": node.id, "type": node.type, "config": config, **node.options, "needs": needs}
        for node, config, needs in zip(graph.nodes, checked.configs, checked.needs, strict=True)
    ]
    stored["edges"] = [
        {"from": ids[source], "to": ids[target], "label": label, **({"role": role} if role else {})}
        for (source, target, label), role in zip(checked.edges, checked.regions.roles, strict=True)
    ]
    derived = {
        "regions": [
            {
                "header": ids[region.header],
                "kind": region.kind,
                "parent": None if region.parent == ROOT else region.parent,
                "nodes": [ids[node] for node in region.nodes],
            }
            for region in checked.regions.found
        ],
        "added": [
            {"from": ids[source], "to": ids[target], "label": label, "role": role}
            for source, target, label, role in checked.added
        ],
        "forks": checked.forks,
    }
    return stored | {key: value for key, value in derived.items() if value}
