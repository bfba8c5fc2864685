"""Reads a graph in any of the shapes in circulation into one: RawGraph. Checks no more than reading needs.

    list      {"nodes": [{"node_id", "node_type", "config"}], "edges": [{"from", "to"}], "entry_node_id"}
    dict      {"nodes": {"a": {"node_type", "next": "b", ...config inline or nested}}, "edges"?}
    docs      {"nodes": [{"id", "type", "config"}], "edges": [{"source", "target", "condition"}]}
    reactflow {"nodes": [{"id", "type", "data": {"label", "config"}}], "edges": [{"source", "target", "sourceHandle"}]}
    canonical {"format": 1, ...}, what is stored

The rules are per node and per edge, so mixtures are read too. A null anywhere counts as "not given".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from dray.actors.registry import HandlerSpec
from dray.cluster.errors import Problem
from dray.cluster.graph.written.limits import HeadSource
from dray.cluster.graph.written.models import (
    MAX_ID,
    EdgeSource,
    NodeSource,
    label_text,
    misspelt,
    names_of,
    one_line,
    pydantic_messages,
    quoted,
)

MAX_NODES = 50_000

# Node keys with a meaning here; an inline config is what remains when these and PLATFORM_KEYS are taken away.
NODE_KEYS = frozenset(
    {"node_id", "id", "node_type", "type", "config", "data", "next", "name", "label", "needs"}
    | {"max_retries", "retry", "timeout", "timeout_seconds", "at_most_once", "max_iterations", "resources"}
)
# Of these "" is what a form holds that nobody has filled in; an inline config is read so later.
FORM_KEYS = frozenset(
    {"max_retries", "timeout", "timeout_seconds", "at_most_once", "max_iterations", "sequential", "parallel"}
    | {"parallel_wait_mode", "parallel_wait_n", "parallel_aggregation"}
)
# Written by the platform and its canvas. Kept as they are: the canvas draws with them, and the parallel ones get a
# meaning later.
PLATFORM_KEYS = frozenset(
    {
        "position_x",
        "position_y",
        "position",
        "positionAbsolute",
        "width",
        "height",
        "measured",
        "selected",
        "selectable",
    }
    | {"dragging", "draggable", "dragHandle", "connectable", "deletable", "hidden", "style", "className", "zIndex"}
    | {"sourcePosition", "targetPosition", "parentId", "parentNode", "extent", "expandParent", "focusable", "ariaLabel"}
    | {"sequential", "parallel", "parallel_wait_mode", "parallel_wait_n", "parallel_aggregation"}
)


@dataclass(slots=True)
class Findings:
    """What is wrong (the graph is refused) and what is odd (stored with the graph), in the order found."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def problem(self, place: str, message: str) -> None:
        self.problems.append(Problem(one_line(place), one_line(message)))

    def warn(self, place: str, message: str) -> None:
        self.warnings.append(one_line(f"{place}: {message}"))


@dataclass(slots=True)
class RawNode:
    """A node as read. options: name, max_retries, timeout, at_most_once, max_iterations, resources, platform keys; none
    None."""

    id: str
    type: str
    config: dict[str, Any]
    options: dict[str, Any]
    next: list[str]

    @property
    def place(self) -> str:
        return f"node {quoted(self.id)}"


@dataclass(slots=True)
class RawEdge:
    """An edge as read. label: what the writer meant. is_drawn: an editor may have written it by itself, as the name of
    a handle or as the text on an arrow."""

    source: str
    target: str
    label: str
    is_drawn: bool = False

    @property
    def place(self) -> str:
        return f"edge {quoted(self.source)} -> {quoted(self.target)}"


@dataclass(slots=True)
class RawGraph:
    nodes: list[RawNode] = field(default_factory=list)
    edges: list[RawEdge] = field(default_factory=list)
    entry: str | None = None
    timeout: float | None = None
    limits: dict[str, Any] | None = None  # as stored
    known: set[str] = field(default_factory=set)  # ids of all nodes, also of those that could not be read
    idle: list[RawNode] = field(default_factory=list)  # of them those that never run (idle.py)
    exact: bool = False  # it is canonical: what editors write otherwise has been read
    whole: bool = True  # False: some node or edge could not be read, so what is missing proves nothing


def read(source: Any, handlers: Mapping[str, HandlerSpec], findings: Findings) -> RawGraph:
    """As much of the graph in `source` as can be read; the rest is in findings. source must be JSON (json_text.py)."""
    graph = RawGraph()
    if not isinstance(source, dict):
        hint = (
            "parse the text first (json.loads)"
            if isinstance(source, str)
            else 'give an object with "nodes" and "edges"'
        )
        findings.problem("graph", f"must be an object, not {_kind(source)}: {hint}")
        graph.whole = False
        return graph
    version = source.get("format")
    if isinstance(version, int) and version > 1:
        findings.problem("graph", f"has format {version}, this Dray knows format 1: upgrade Dray")
        graph.whole = False
        return graph
    graph.exact = version == 1
    _read_head(source, graph, findings)
    for place, raw in _node_sources(source, findings):
        node = _read_node(place, raw, handlers, findings)
        if node is not None:
            graph.nodes.append(node)
        else:
            graph.whole = False
            graph.known.update(filter(None, [_readable_id(raw)]))
    graph.known.update(node.id for node in graph.nodes)
    if graph.known:
        _drop_doubles(graph, findings)
        _read_edges(source, graph, findings)
    return graph


def _read_head(source: dict[str, Any], graph: RawGraph, findings: Findings) -> None:
    given = _given(source)
    if given.get("format") != 1:
        given.pop("warnings", None)
    try:
        head = HeadSource.model_validate(given)
    except ValidationError as error:
        findings.problems += _problems("graph", error)
        return
    _tell_misspelt(HeadSource, given, "graph", findings)
    graph.entry, graph.timeout, graph.limits = head.entry, head.timeout, head.stored()
    findings.warnings += head.warnings


def _node_sources(source: dict[str, Any], findings: Findings) -> Iterator[tuple[str, Any]]:
    nodes = source.get("nodes")
    if not isinstance(nodes, (list, dict)):
        inner = next(
            (key for key in ("graph_config", "graph", "definition") if isinstance(source.get(key), dict)), None
        )
        hint = f"pass what is under {inner!r}" if inner else "give a list of nodes, or an object of id -> node"
        findings.problem("nodes", f"{'missing' if nodes is None else 'must not be ' + _kind(nodes)}: {hint}")
    elif not nodes:
        findings.problem("nodes", "the graph is empty: give it at least one node")
    elif len(nodes) > MAX_NODES:
        findings.problem("nodes", f"{len(nodes):,} nodes are more than {MAX_NODES:,}: split the workflow")
    elif isinstance(nodes, list):
        for index, raw in enumerate(nodes):
            yield f"nodes[{index}]", raw
    else:
        for key, raw in nodes.items():
            place = f"nodes[{quoted(key)}]"
            if isinstance(raw, dict):
                inner_id = raw.get("node_id", raw.get("id"))
                if inner_id not in (None, key):
                    findings.warn(place, f"its own id {quoted(inner_id)} is not read, the key is its id")
                raw = {**raw, "node_id": key}
            yield place, raw
    if source.get("format") == 1:
        yield from ((f"idle.nodes[{index}]", raw) for index, raw in enumerate(_idle(source, "nodes")))


def _idle(source: dict[str, Any], what: str) -> list[Any]:
    """What never runs, which the canonical form has beside the rest."""
    idle = source.get("idle")
    found = idle.get(what) if isinstance(idle, dict) else None
    return found if isinstance(found, list) else []


def _read_node(place: str, raw: Any, handlers: Mapping[str, HandlerSpec], findings: Findings) -> RawNode | None:
    if not isinstance(raw, dict):
        findings.problem(place, f"a node must be an object, not {_kind(raw)}")
        return None
    node_id = _readable_id(raw)
    place = f"node {quoted(node_id)}" if node_id else place
    filled = {key: value for key, value in _given(raw).items() if value != "" or key not in FORM_KEYS}
    given, inline = _split_inline(filled, handlers)
    try:
        node = NodeSource.model_validate(given)
    except ValidationError as error:
        findings.problems += _problems(place, error)
        return None
    near = _tell_misspelt(NodeSource, given, place, findings)
    for key in sorted(set(node.model_extra or ()) - NODE_KEYS - PLATFORM_KEYS - near):
        findings.warn(place, f"key {quoted(key)} is not read: put what the handler should see into config")
    if inline and node.data and node.data.model_extra:
        keys = ", ".join(quoted(key) for key in sorted(node.data.model_extra))
        findings.warn(place, f"data has no config, so its keys {keys} are not read: put them into data.config")
    if node.retry and node.retry.model_extra:
        keys = ", ".join(quoted(key) for key in sorted(node.retry.model_extra))
        findings.warn(place, f"in retry only max_retries is read, not {keys}")
    return RawNode(node.id, node.type, node.config, _options(node), node.next)


def _readable_id(raw: Any) -> str | None:
    """The id of a node that is refused for another reason."""
    given = _given(raw) if isinstance(raw, dict) else {}
    node_id = given.get("node_id", given.get("id"))
    if (
        isinstance(node_id, (str, int))
        and not isinstance(node_id, bool)
        and str(node_id).strip()
        and len(str(node_id)) <= MAX_ID
    ):
        return str(node_id)
    return None


def _split_inline(given: dict[str, Any], handlers: Mapping[str, HandlerSpec]) -> tuple[dict[str, Any], bool]:
    """The node with its config in its place; whether it had to be gathered from the node itself.

    A key such as timeout that the node and the handler both know is the handler's when the config is inline.
    """
    if "config" in given:
        return given, False
    data = given.get("data")
    if isinstance(data, dict) and data.get("config") is not None:
        return {**given, "config": data["config"]}, False
    node_type = given.get("node_type", given.get("type"))
    handler = handlers.get(node_type) if isinstance(node_type, str) else None
    own = handler_fields(handler) - {"id", "type", "node_id", "node_type"}
    config = {key: value for key, value in given.items() if key in own or key not in NODE_KEYS | PLATFORM_KEYS}
    return {**{key: value for key, value in given.items() if key not in config}, "config": config}, True


def handler_fields(handler: HandlerSpec | None) -> set[str]:
    """Every key that the handler's config model reads, aliases included."""
    names: set[str] = set()
    if handler is None or handler.config_model is None:
        return names
    for name, info in handler.config_model.model_fields.items():
        names |= names_of(name, info)
    return names


def _options(node: NodeSource) -> dict[str, Any]:
    name = next(
        (
            each
            for each in (node.name, node.label, node.data and node.data.label)
            if isinstance(each, str) and each.strip()
        ),
        None,
    )
    retries = node.max_retries if node.max_retries is not None else node.retry and node.retry.max_retries
    options: dict[str, Any] = {"name": name and name[:MAX_ID], "max_retries": retries, "timeout": node.timeout}
    options["at_most_once"] = node.at_most_once or None
    options["max_iterations"] = node.max_iterations
    options["resources"] = node.resources and node.resources.stored()
    options.update((key, value) for key, value in (node.model_extra or {}).items() if key in PLATFORM_KEYS)
    return {key: value for key, value in options.items() if value is not None}


def _drop_doubles(graph: RawGraph, findings: Findings) -> None:
    first: dict[str, RawNode] = {}
    for node in graph.nodes:
        if first.setdefault(node.id, node) is not node:
            findings.problem(node.place, "the id is used twice: give every node an id of its own")
    graph.nodes = list(first.values())


def _read_edges(source: dict[str, Any], graph: RawGraph, findings: Findings) -> None:
    edges = source.get("edges")
    if edges is None:
        graph.edges = [RawEdge(node.id, target, "") for node in graph.nodes for target in node.next]
        return
    if not isinstance(edges, list):
        findings.problem("edges", f'must be a list of {{"from": id, "to": id}}, not {_kind(edges)}')
        graph.whole = False
        return
    exact = source.get("format") == 1
    edges = [*edges, *_idle(source, "edges")] if exact else edges
    for index, raw in enumerate(edges):
        edge = _read_edge(f"edges[{index}]", raw, exact, findings)
        if edge is None:
            graph.whole = False
        else:
            graph.edges.append(edge)
    drawn = {(edge.source, edge.target) for edge in graph.edges}
    for node in graph.nodes:
        for target in node.next:
            if (node.id, target) not in drawn:
                findings.warn(
                    node.place,
                    f"next {quoted(target)} is not read, because the graph has a list of edges: add the edge to it",
                )


def _read_edge(place: str, raw: Any, exact: bool, findings: Findings) -> RawEdge | None:
    if not isinstance(raw, dict):
        findings.problem(place, f'an edge must be an object {{"from": id, "to": id}}, not {_kind(raw)}')
        return None
    given = _given(raw)
    try:
        edge = EdgeSource.model_validate(given)
        caption = "" if isinstance(edge.label, (dict, list)) or edge.label is None else label_text(edge.label)
    except ValidationError as error:
        ends = [given.get(new, given.get(old)) for new, old in (("from", "source"), ("to", "target"))]
        if all(isinstance(end, str) and end.strip() for end in ends):
            place = f"edge {quoted(ends[0])} -> {quoted(ends[1])}"
        findings.problems += _problems(place, error)
        return None
    _tell_misspelt(EdgeSource, given, f"edge {quoted(edge.source)} -> {quoted(edge.target)}", findings)
    said = edge.branch or edge.condition
    if exact or said:
        return RawEdge(edge.source, edge.target, said or caption)
    return RawEdge(edge.source, edge.target, edge.handle or caption, bool(edge.handle) or "source" in given)


def _tell_misspelt(model: type[BaseModel], given: Mapping[str, Any], place: str, findings: Findings) -> set[str]:
    """The keys that are most likely meant as others: passed over, an edge would have no label, a node no retries."""
    found = misspelt(model, given)
    for key, name in found:
        findings.problem(place, f"has {quoted(key)}: did you mean {quoted(name)}?")
    return {key for key, _ in found}


def _given(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if value is not None}


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _problems(place: str, error: ValidationError) -> list[Problem]:
    return [
        Problem(place, one_line(message))
        for message in pydantic_messages(error.errors(include_url=False, include_input=False))
    ]
