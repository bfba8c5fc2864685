"""The graph of one workflow version: what is stored (`canonical`) and what executions share in memory (`load`).

canonical() is for the moment a workflow is registered: it takes what a user wrote, in any shape, and refuses with all
problems at once or gives the one JSON form that is stored. load() is for the driver: it trusts the stored form, checks
nothing again and gives a Graph that thousands of executions share, so nothing in a Graph ever changes.

    {"format": 1, "entry": id | null, "timeout"?: seconds, "schedule"?: {...}, "warnings": [text],
     "nodes": [{"id", "type", "config", "name"?, "max_retries"?, "timeout"?, "at_most_once"?, ...platform keys,
                "needs": {"input": bool, "nodes": [id], "vars": [id], "inputs": [id]}}],
     "edges": [{"from": id, "to": id, "label": text | null}]}

needs says what a node must be given: the execution's input, the outputs that its config names, the set_variable nodes
before it (in topological order), its direct predecessors. All of them are ancestors of the node. Pure: no I/O here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.messages import NodeSpec
from actors.registry import HandlerSpec
from cluster.errors import GraphInvalid, Problem
from cluster.graph_check import check
from cluster.graph_json import MAX_DEPTH, json_problems
from cluster.graph_labels import SELECTING
from cluster.graph_schedule import read_schedule
from cluster.graph_source import Findings, read

FORMAT = 1
NEEDED = ("nodes", "vars", "inputs")
# Inline configs lie a few levels deeper in the canonical form, which must stay readable as a source.
DEPTH_ADDED = 4
_TO_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Node:
    """One node, as the plan needs it; other nodes are named by their index.

    max_retries, timeout (seconds): None where the node does not say. needs_vars: set_variable nodes before this one,
    in topological order. needs_inputs: direct predecessors, in the order of the edges. reads: all of these, each once.
    selects: its edges are chosen by label.
    """

    index: int
    id: str
    type: str
    spec: NodeSpec
    max_retries: int | None
    timeout: float | None
    needs_input: bool
    needs_nodes: tuple[int, ...]
    needs_vars: tuple[int, ...]
    needs_inputs: tuple[int, ...]
    reads: tuple[int, ...]
    selects: bool
    at_most_once: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """source, target: node indexes. label: None = followed when the node completes; "failed" = when it fails.

    Any other label, which may be the name of a case, is followed when the node answers it.
    """

    source: int
    target: int
    label: str | None


@dataclass(frozen=True, slots=True)
class Graph:
    """One workflow version, ready to run.

    out: indexes of the edges that leave each node. indegree: how many edges enter it. starts: where an execution
    begins. ends: nodes that no edge leaves. consumers: how many nodes are given this node's output; 0 = it need not be
    kept in memory. timeout: seconds for the whole execution, None = the setting decides. index: node id -> index.
    """

    workflow_id: int
    name: str
    version: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    out: tuple[tuple[int, ...], ...]
    indegree: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    consumers: tuple[int, ...]
    timeout: float | None
    index: dict[str, int]


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
    if schedule is not None:
        stored["schedule"] = schedule
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
        return _load(workflow_id, name, version, stored)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        trouble = f"the stored graph is damaged ({type(error).__name__}: {error}): register the workflow again"
        raise GraphInvalid([Problem(f"workflow {name!r} version {version}", trouble)]) from error


def _load(workflow_id: int, name: str, version: int, stored: dict[str, Any]) -> Graph:
    index = {node["id"]: position for position, node in enumerate(stored["nodes"])}
    nodes = tuple(_node(workflow_id, position, node, index) for position, node in enumerate(stored["nodes"]))
    edges = tuple(_edge(edge, stored["nodes"], index) for edge in stored["edges"])
    out: list[list[int]] = [[] for _ in nodes]
    indegree = [0] * len(nodes)
    for position, edge in enumerate(edges):
        out[edge.source].append(position)
        indegree[edge.target] += 1
    consumers: Counter[int] = Counter()
    for node in nodes:
        consumers.update(node.reads)
    entry = stored["entry"]
    return Graph(
        workflow_id=workflow_id,
        name=name,
        version=version,
        nodes=nodes,
        edges=edges,
        out=tuple(map(tuple, out)),
        indegree=tuple(indegree),
        starts=(index[entry],) if entry is not None else tuple(i for i, count in enumerate(indegree) if count == 0),
        ends=tuple(i for i, leaving in enumerate(out) if not leaving),
        consumers=tuple(consumers[i] for i in range(len(nodes))),
        timeout=stored.get("timeout"),
        index=index,
    )


def _edge(edge: dict[str, Any], nodes: list[dict[str, Any]], index: dict[str, int]) -> Edge:
    """An edge "success" is one that is always followed, unless its node has a choice of that name."""
    source, label = index[edge["from"]], edge["label"]
    if label == "success":
        config = nodes[source]["config"]
        choices = config.get("cases") or config.get("approval_options") or ()
        label = label if nodes[source]["type"] in SELECTING and label in choices else None
    return Edge(source, index[edge["to"]], label)


def _node(workflow_id: int, position: int, node: dict[str, Any], index: dict[str, int]) -> Node:
    needs = node["needs"]
    needs_nodes, needs_vars, needs_inputs = (tuple(index[each] for each in needs[kind]) for kind in NEEDED)
    return Node(
        index=position,
        id=node["id"],
        type=node["type"],
        spec=NodeSpec(f"{workflow_id}:{node['id']}", node["type"], _TO_JSON.encode(node["config"])),
        max_retries=node.get("max_retries"),
        timeout=node.get("timeout"),
        needs_input=needs["input"],
        needs_nodes=needs_nodes,
        needs_vars=needs_vars,
        needs_inputs=needs_inputs,
        reads=tuple(dict.fromkeys((*needs_nodes, *needs_vars, *needs_inputs))),
        selects=node["type"] in SELECTING,
        at_most_once=node.get("at_most_once", False),
    )
