"""Checks a graph that could be read: types, configs, edges and shape. Finds all problems, not the first one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from dray.actors.expressions.config import References, prepare
from dray.actors.registry import INSTEAD, HandlerSpec
from dray.cluster.graph import labels as graph_labels
from dray.cluster.graph import loops
from dray.cluster.graph.bodies import region_names, settle_loop_edges
from dray.cluster.graph.breaks import find_regions
from dray.cluster.graph.forks import borne, raced, resolve_forks
from dray.cluster.graph.idle import part_idle
from dray.cluster.graph.keys import check_keys
from dray.cluster.graph.needs import Needs
from dray.cluster.graph.regions import ROOT, Added, LabelledEdge, Regions
from dray.cluster.graph.tries import resolve_tries
from dray.cluster.graph.types import BUILTIN
from dray.cluster.graph.view import View
from dray.cluster.graph.written.forms import read_forms
from dray.cluster.graph.written.models import misspelt, pydantic_messages, quoted
from dray.cluster.graph.written.nearest import Nearest
from dray.cluster.graph.written.resources import MAX_SHAPES
from dray.cluster.graph.written.source import Findings, RawGraph, RawNode


@dataclass(slots=True)
class Checked:
    """What the canonical form is made of. edges: (from, to, label), without doubles; added: (from, to, label, role)."""

    configs: list[dict[str, Any]] = field(default_factory=list)
    references: list[References] = field(default_factory=list)
    edges: list[LabelledEdge] = field(default_factory=list)
    regions: Regions = field(default_factory=lambda: Regions([], [], []))
    added: list[Added] = field(default_factory=list)
    forks: list[dict[str, Any]] = field(default_factory=list)
    needs: list[dict[str, Any]] = field(default_factory=list)
    entry: str | None = None
    idle: dict[str, Any] | None = None  # what never runs (idle.py)


def check(graph: RawGraph, handlers: Mapping[str, HandlerSpec], findings: Findings) -> Checked:
    """Everything wrong with the graph goes to findings; the result can be used if there are no problems."""
    checked = Checked()
    checked.idle = part_idle(graph, findings)
    if not graph.exact:
        read_forms(graph, handlers, findings)
    for node in graph.nodes:
        if loops.is_loop(node):
            node.config = loops.tidy(node.config)
            if node.options.get("timeout") is not None:
                findings.warn(
                    node.place, "timeout does not end a loop: give one to the nodes of its body, or the workflow"
                )
            if loops.kind(node) == "each" and {**node.config, **node.options}.get("max_iterations") is not None:
                findings.warn(node.place, "max_iterations is not read: a foreach takes each of its items once")
        if loops.is_loop(node) or node.type in loops.LEAVING:
            for key in loops.FIXED:
                if holds_template(node.config.get(key)):
                    findings.problem(node.place, f"config.{key}: is read when the workflow is stored: write it out")
    shape = Findings()  # told after the nodes, but their expressions must know which loops they are in
    loose = _check_edges(graph, checked, shape)
    _find_entry(graph, checked, shape)
    checked.regions = find_regions(graph, checked.edges, _entry_index(graph, checked), loose, shape)
    is_sound = graph.whole and not shape.problems
    _check_nodes(graph, checked, handlers, findings, regions_known=is_sound)
    _check_resources(graph, findings)
    findings.problems += shape.problems
    findings.warnings += shape.warnings
    if is_sound:
        check_keys(graph, checked.regions, findings)
        _check_shape(graph, checked, handlers, findings)
    return checked


def _check_nodes(
    graph: RawGraph, checked: Checked, handlers: Mapping[str, HandlerSpec], findings: Findings, regions_known: bool
) -> None:
    node_ids = frozenset(graph.known)
    idle = frozenset(node.id for node in graph.idle)
    nearest = Nearest()
    names = region_names(graph, checked.regions)
    every_name = {name: path for each in names for name, path in each.items()}
    for position, node in enumerate(graph.nodes):
        handler = handlers.get(node.type)
        if handler is None:
            hint = f": use {INSTEAD[node.type]}" if node.type in INSTEAD else nearest.hint(node.type, handlers.keys())
            hint = hint or ": load the module that registers a handler for it"
            findings.problem(node.place, f"unknown type {quoted(node.type)}{hint}")
        elif handler.is_plug_in:
            findings.warn(node.place, f"fails when it runs: needs plug-in {quoted(node.type)}, a handler of your own")
        home = checked.regions.home[position]
        aliases = (names[home] if home != ROOT else {}) if regions_known else every_name
        meaningless = _meaningless(node, home, aliases) if regions_known else {}
        prepared = prepare(node.config, handler.config_model if handler else None, node_ids, aliases, meaningless)
        checked.configs.append(prepared.config)
        checked.references.append(prepared.references)
        expression_paths = {_path(path) for path, _ in prepared.problems}
        for path, message in prepared.problems:
            findings.problem(node.place, f"{_path(path)}: {message}")
        for each in sorted(prepared.references.nodes & idle):
            findings.problem(node.place, f"config reads the output of node {quoted(each)}, which does not run")
        for path, message in prepared.warnings:
            findings.warn(node.place, f"{_path(path)}: {message}")
        for message in config_messages(handler, node.config):
            if message.partition(":")[0] not in expression_paths:
                findings.problem(node.place, message)
        if handler is not None and handler.config_model is not None:
            for key, field in misspelt(handler.config_model, node.config):
                findings.problem(node.place, f"config: has {quoted(key)}: did you mean {quoted(field)}?")


def _meaningless(node: RawNode, home: int, aliases: Mapping[str, str]) -> dict[str, str]:
    """Where somebody would look for the number of a turn, and there is none."""
    if "index" in aliases:
        return {}
    if loops.is_loop(node) and loops.kind(node) == "while":
        return {"index": "is known in the body of the loop, not in its condition: count with set_variable in the body"}
    if home != ROOT:
        return {"index": "is of a loop node, a cycle that a condition closes has none: count with set_variable"}
    return {}


def _check_resources(graph: RawGraph, findings: Findings) -> None:
    """Only nodes that runners run can ask for a runner."""
    shapes: set[str] = set()
    for node in graph.nodes:
        asks = node.options.get("resources")
        if asks is None:
            continue
        shapes.add(json.dumps(asks, sort_keys=True))
        if loops.is_loop(node):
            findings.problem(node.place, "resources: a loop only counts its turns: give them to nodes of its body")
        elif node.type in BUILTIN:
            findings.problem(node.place, f"resources: no runner runs a node of type {quoted(node.type)}: remove them")
    if len(shapes) > MAX_SHAPES:
        message = f"its nodes ask for {len(shapes)} different resources, more than {MAX_SHAPES}: let some be alike"
        findings.problem("graph", message)


def _path(path: str) -> str:
    return f"config.{path}" if path and not path.startswith("[") else f"config{path}"


def config_messages(handler: HandlerSpec | None, config: dict[str, Any]) -> list[str]:
    """What the handler's model has against the config, except where a template gives the value only at run time."""
    if handler is None or handler.config_model is None:
        return []
    try:
        handler.config_model.model_validate(config)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        return pydantic_messages([each for each in errors if not _is_templated(config, each)], "config")
    except Exception as error:  # noqa: BLE001  # a validator is a user's code, which may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return [f"config: the check of type {quoted(handler.type)} failed with {reason}"]
    return []


def _is_templated(config: dict[str, Any], error: Mapping[str, Any]) -> bool:
    if error["type"] == "missing":
        return False
    value: Any = config
    for part in error["loc"]:
        if (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]
    return holds_template(value)


def holds_template(value: Any) -> bool:
    """Whether a `{{ }}` stands anywhere in the value."""
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, dict):
        return any(map(holds_template, value.values()))
    return isinstance(value, list) and any(map(holds_template, value))


def _check_edges(graph: RawGraph, checked: Checked, findings: Findings) -> frozenset[int]:
    """Settles ends and labels; gives the nodes with an edge that hangs in the air, whose shape proves nothing."""
    index = {node.id: position for position, node in enumerate(graph.nodes)}
    nearest = Nearest()
    edges: dict[LabelledEdge, None] = {}
    loose: set[int] = set()
    for edge in graph.edges:
        unknown = dict.fromkeys(end for end in (edge.source, edge.target) if end not in graph.known)
        for end in unknown:
            findings.problem(
                edge.place,
                f"there is no node {quoted(end)}{nearest.hint(end, graph.known)}: add the node or remove the edge",
            )
        if edge.source == edge.target:
            findings.problem(edge.place, "goes from a node to itself: remove it, a loop needs other nodes as its body")
        if unknown or edge.source == edge.target or edge.source not in index or edge.target not in index:
            loose.update(index[end] for end in (edge.source, edge.target) if end in index)
            continue
        source = index[edge.source]
        for label in graph_labels.settle(edge, graph.nodes[source], nearest, findings):
            edges[source, index[edge.target], label] = None
    checked.edges = list(edges)
    return frozenset(loose)


def _find_entry(graph: RawGraph, checked: Checked, findings: Findings) -> None:
    if graph.entry in graph.known:
        checked.entry = graph.entry
    elif graph.entry is not None:
        findings.warn(
            "graph", f"entry_node_id {quoted(graph.entry)} names no node, so every node without an incoming edge starts"
        )


def _entry_index(graph: RawGraph, checked: Checked) -> int | None:
    if checked.entry is None:
        return None
    return next((position for position, node in enumerate(graph.nodes) if node.id == checked.entry), None)


def _check_shape(graph: RawGraph, checked: Checked, handlers: Mapping[str, HandlerSpec], findings: Findings) -> None:
    settle_loop_edges(graph, checked.edges, checked.regions, findings)
    view = View(checked.edges, checked.regions)
    checked.added += resolve_tries(graph, checked.edges, checked.regions, view, findings)
    if view.numbered != len(checked.edges):
        view = View(checked.edges, checked.regions)
    forks, order = resolve_forks(graph, checked.edges, view, checked.configs, findings)
    checked.forks = forks
    checked.added = borne(forks, [node.id for node in graph.nodes], checked.added) + order
    _warn_unlabelled(graph, checked, findings)
    if findings.problems:
        return
    needs = Needs(graph, checked.edges, checked.regions, checked.added, checked.references, handlers)
    needs.raced = raced(graph, view, forks, checked.edges)
    checked.needs = needs.settle(findings)


def _warn_unlabelled(graph: RawGraph, checked: Checked, findings: Findings) -> None:
    labels: dict[int, set[str | None]] = defaultdict(set)
    for source, _, label in checked.edges:
        if graph.nodes[source].type in graph_labels.SELECTING and graph.nodes[source].type != "catch":
            labels[source].add(label)
    for source, found in labels.items():
        if None in found and found <= {None, *graph_labels.ERROR_LABELS}:
            findings.warn(
                graph.nodes[source].place,
                "its edges have no labels, so all are followed whatever it decides: label them",
            )
