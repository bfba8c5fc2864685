"""The form of a graph that is stored, made from whatever shape its author wrote.

canonical() is for the moment a workflow is registered: it takes what a user wrote, in any shape, and refuses with all
problems at once or gives the one JSON form that is stored. load() is for the driver: it trusts the stored form, checks
nothing again and gives a Graph that thousands of executions share, so nothing in a Graph ever changes.

    {"format": 1, "entry": id | null, "timeout"?: seconds, "limits"?: {...} (written/limits.py),
     "schedule"?: {...} (written/schedule.py), "warnings": [text],
     "nodes": [{"id", "type", "config", "name"?, "max_retries"?, "timeout"?, "at_most_once"?, ...platform keys,
                "resources"?: {...} (written/resources.py),
                "needs": {"input": bool, "nodes": [id], "vars": [id], "inputs": [id], "error"?: [id]}}],
     "edges": [{"from": id, "to": id, "label": text | null, "role"?: "body" | "back"}],
     "regions"?: [{"header": id, "kind": "each" | "for" | "while" | "cycle", "parent": index | null, "nodes": [id]}],
     "added"?: [{"from": id, "to": id, "label": text | null, "role": "catch" | "pass" | "order"}],
     "forks"?: [{"fork": id, "joins": [{"join": id, "branches": [[id]]}], "wait": n, "nodes": [id],
                 "asides"?: [{"nodes": [id], "ends": [id]}]}],
     "idle"?: {"nodes": [...], "edges": [...]} (idle.py)}

needs says what a node must be given: the execution's input, the outputs that its config names, the set_variable nodes
before it (in topological order), its direct predecessors, and nodes whose failure may have led to it. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dray.actors.registry import HandlerSpec
from dray.cluster.errors import GraphInvalid
from dray.cluster.graph.check import check
from dray.cluster.graph.regions import ROOT
from dray.cluster.graph.types import FORMAT
from dray.cluster.graph.written.json_text import MAX_DEPTH, json_problems
from dray.cluster.graph.written.schedule import read_schedule
from dray.cluster.graph.written.source import Findings, read

# Inline configs lie a few levels deeper in the canonical form, which must stay readable as a source.
DEPTH_ADDED = 4


def canonical(source: Any, handlers: Mapping[str, HandlerSpec]) -> dict[str, Any]:
    """The form of a graph that is stored, from any of the formats in circulation (written/source.py lists them).

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
    schedule = read_schedule(source, [*graph.nodes, *graph.idle], findings)
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
        "idle": checked.idle,
    }
    return stored | {key: value for key, value in derived.items() if value}
