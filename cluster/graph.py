"""The graph of one workflow version: what is stored (`canonical`) and what executions share in memory (`load`).

canonical() is for the moment a workflow is registered: it takes what a user wrote, in any shape, and refuses with all
problems at once or gives the one JSON form that is stored. load() is for the driver: it trusts the stored form, checks
nothing again and gives a Graph that thousands of executions share, so nothing in a Graph ever changes.

    {"format": 1, "entry": id | null, "timeout"?: seconds, "warnings": [text],
     "nodes": [{"id", "type", "config", "name"?, "max_retries"?, "timeout"?, "at_most_once"?, ...platform keys,
                "needs": {"input": bool, "nodes": [id], "vars": [id], "inputs": [id]}}],
     "edges": [{"from": id, "to": id, "label": text | null}]}

needs says what a node must be given: the execution's input, the outputs that its config names, the set_variable nodes
before it (in topological order), its direct predecessors. All of them are ancestors of the node. Pure: no I/O here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.registry import HandlerSpec
from cluster.errors import GraphInvalid, Problem
from cluster.graph_check import check
from cluster.graph_json import MAX_DEPTH, json_problems
from cluster.graph_load import Builder
from cluster.graph_source import Findings, read
from cluster.graph_types import Graph

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
    if findings.problems:
        raise GraphInvalid(list(dict.fromkeys(findings.problems)))
    ids = [node.id for node in graph.nodes]
    stored: dict[str, Any] = {"format": FORMAT, "entry": checked.entry}
    if graph.timeout is not None:
        stored["timeout"] = graph.timeout
    stored["warnings"] = list(dict.fromkeys(findings.warnings))
    stored["nodes"] = [
        {"id": node.id, "type": node.type, "config": config, **node.options, "needs": needs}
        for node, config, needs in zip(graph.nodes, checked.configs, checked.needs, strict=True)
    ]
    stored["edges"] = [
        {"from": ids[source], "to": ids[target], "label": label} for source, target, label in checked.edges
    ]
    return stored


def load(workflow_id: int, name: str, version: int, stored: dict[str, Any]) -> Graph:
    """The Graph of a stored canonical form. Raises GraphInvalid if what is stored cannot have come from canonical()."""
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        place = f"workflow {name!r} version {version}"
        found = stored.get("format") if isinstance(stored, dict) else None
        message = (
            f"is stored in format {found!r}, this Dray reads format {FORMAT}: use the Dray that stored it, or newer"
        )
        raise GraphInvalid([Problem(place, message)])
    try:
        return Builder(workflow_id, stored).graph(name, version)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        trouble = f"the stored graph is damaged ({type(error).__name__}: {error}): register the workflow again"
        raise GraphInvalid([Problem(f"workflow {name!r} version {version}", trouble)]) from error
