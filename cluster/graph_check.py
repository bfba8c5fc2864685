"""Checks a graph that could be read: types, configs, edges and shape. Finds all problems, not the first one."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from actors.expressions import References, prepare
from actors.registry import INSTEAD, HandlerSpec
from cluster import graph_labels, graph_order
from cluster.graph_models import pydantic_messages, quoted
from cluster.graph_source import Findings, RawGraph, RawNode

# Outputs that the nodes of one graph read, all together: what the plan walks for one execution.
MAX_READS = 1_000_000
MAX_COMPARISONS = 20_000
SHOWN_CYCLE = 12


class Nearest:
    """Finds the name that was probably meant.

    Comparing is slow, so one graph gets a budget: the first mistakes get a hint.
    """

    def __init__(self) -> None:
        self._budget = MAX_COMPARISONS
        self._known: dict[str, str] = {}

    def hint(self, name: str, names: Collection[str]) -> str:
        """` (did you mean 'x'?)`, or nothing."""
        if name not in self._known:
            self._known[name] = self._find(name, names)
        return self._known[name]

    def _find(self, name: str, names: Collection[str]) -> str:
        if len(name) > 64 or len(names) > self._budget:
            return ""
        self._budget -= len(names)
        short = [each for each in names if len(each) <= 64]
        lower = {each.lower(): each for each in reversed(short)}
        match = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
        return f" (did you mean {quoted(lower[match[0]])}?)" if match else ""


@dataclass(slots=True)
class Checked:
    """What the canonical form is made of. edges: (from, to, label), without doubles."""

    configs: list[dict[str, Any]] = field(default_factory=list)
    references: list[References] = field(default_factory=list)
    edges: list[tuple[int, int, str | None]] = field(default_factory=list)
    needs: list[dict[str, Any]] = field(default_factory=list)
    entry: str | None = None


def check(graph: RawGraph, handlers: Mapping[str, HandlerSpec], findings: Findings) -> Checked:
    """Everything wrong with the graph goes to findings; the result can be used if there are no problems."""
    checked = Checked()
    node_ids = frozenset(graph.known)
    nearest = Nearest()
    for node in graph.nodes:
        handler = handlers.get(node.type)
        if handler is None:
            hint = f": use {INSTEAD[node.type]}" if node.type in INSTEAD else nearest.hint(node.type, handlers.keys())
            hint = hint or ": load the module that registers a handler for it"
            findings.problem(node.place, f"unknown type {quoted(node.type)}{hint}")
        elif handler.is_plug_in:
            findings.warn(node.place, f"fails when it runs: needs plug-in {quoted(node.type)}, a handler of your own")
        prepared = prepare(node.config, handler.config_model if handler else None, node_ids)
        checked.configs.append(prepared.config)
        references = prepared.references
        if len(references.nodes) == len(node_ids):  # a computed id: one set for all nodes, not one each
            references = references._replace(nodes=node_ids)
        checked.references.append(references)
        expression_paths = {_path(path) for path, _ in prepared.problems}
        for path, message in prepared.problems:
            findings.problem(node.place, f"{_path(path)}: {message}")
        for message in config_messages(handler, node.config):
            if message.partition(":")[0] not in expression_paths:
                findings.problem(node.place, message)
    joined = _check_edges(graph, checked, findings)
    _warn_unlabelled(graph, checked, findings)
    _check_shape(graph, checked, handlers, findings, joined and graph.whole)
    return checked


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


def _check_edges(graph: RawGraph, checked: Checked, findings: Findings) -> bool:
    """Settles ends and labels; False if some edge hangs in the air, so that the shape proves nothing."""
    index = {node.id: position for position, node in enumerate(graph.nodes)}
    nearest = Nearest()
    edges: dict[tuple[int, int, str | None], None] = {}
    joined = True
    for edge in graph.edges:
        unknown = dict.fromkeys(end for end in (edge.source, edge.target) if end not in graph.known)
        for end in unknown:
            findings.problem(
                edge.place,
                f"there is no node {quoted(end)}{nearest.hint(end, graph.known)}: add the node or remove the edge",
            )
        if edge.source == edge.target:
            findings.problem(edge.place, "goes from a node to itself: remove it, loops come as loop nodes")
        if unknown or edge.source == edge.target or edge.source not in index or edge.target not in index:
            joined = False
            continue
        source = index[edge.source]
        for label in graph_labels.settle(edge, graph.nodes[source], findings):
            edges[source, index[edge.target], label] = None
    checked.edges = list(edges)
    return joined


def _warn_unlabelled(graph: RawGraph, checked: Checked, findings: Findings) -> None:
    labels: dict[int, set[str | None]] = defaultdict(set)
    for source, _, label in checked.edges:
        if graph.nodes[source].type in graph_labels.SELECTING:
            labels[source].add(label)
    for source, found in labels.items():
        if None in found and found <= {None, *graph_labels.ERROR_LABELS}:
            findings.warn(
                graph.nodes[source].place,
                "its edges have no labels, so all are followed whatever it decides: label them",
            )


def _check_shape(
    graph: RawGraph, checked: Checked, handlers: Mapping[str, HandlerSpec], findings: Findings, whole: bool
) -> None:
    out: list[list[int]] = [[] for _ in graph.nodes]
    into: list[list[int]] = [[] for _ in graph.nodes]
    for source, target, _ in checked.edges:
        out[source].append(target)
        into[target].append(source)
    order = graph_order.topological(out)
    for cycle in graph_order.cycles(out) if len(order) < len(out) else ():
        findings.problem(
            "graph", f"has a cycle: {_drawn(graph, cycle)}; remove one of these edges, loops come as loop nodes"
        )
    if graph.entry in graph.known:
        checked.entry = graph.entry
    elif graph.entry is not None:
        findings.warn(
            "graph", f"entry_node_id {quoted(graph.entry)} names no node, so every node without an incoming edge starts"
        )
    if not whole or len(order) < len(out):
        return
    if checked.entry is not None:
        start = next(position for position, node in enumerate(graph.nodes) if node.id == checked.entry)
        reached = graph_order.reachable(out, start)
        for position, node in enumerate(graph.nodes):
            if position not in reached and not into[position]:  # what hangs behind it is mended with it
                way = "draw an edge to it, remove it, or leave entry_node_id out to start at every root"
                findings.problem(node.place, f"cannot be reached from the entry {quoted(checked.entry)}: {way}")
    _settle_needs(graph, checked, handlers, findings, out, into, order)


def _drawn(graph: RawGraph, cycle: list[int]) -> str:
    names = [graph.nodes[position].id for position in [*cycle, cycle[0]]]
    shown = [name if name.isprintable() and len(name) <= 80 else quoted(name) for name in names]
    if len(shown) > SHOWN_CYCLE:
        shown[SHOWN_CYCLE // 2 : -SHOWN_CYCLE // 2] = [f"({len(shown) - SHOWN_CYCLE} more)"]
    return " -> ".join(shown)


def _settle_needs(
    graph: RawGraph,
    checked: Checked,
    handlers: Mapping[str, HandlerSpec],
    findings: Findings,
    out: list[list[int]],
    into: list[list[int]],
    order: list[int],
) -> None:
    """What each node must be given: only outputs that are decided before it, so that it sees the same in every run."""
    index = {node.id: position for position, node in enumerate(graph.nodes)}
    rank = {node: position for position, node in enumerate(order)}
    everything = frozenset(rank)
    variables = frozenset(position for position, node in enumerate(graph.nodes) if node.type == "set_variable")
    wants = [handlers[node.type].needs if node.type in handlers else frozenset() for node in graph.nodes]
    named = [_named(references, index, everything) for references in checked.references]
    far: dict[int, frozenset[int]] = {}
    for position, nodes in enumerate(named):
        # All ids: `nodes[expression]`, whatever ran before. Else predecessors need no asking: a long chain stays cheap.
        asked = everything if nodes is everything else nodes.difference(into[position])
        if asked:
            far[position] = asked
    reads_vars = {
        position: variables
        for position, references in enumerate(checked.references)
        if variables and (references.vars or "vars" in wants[position])
    }
    nodes_before = graph_order.ancestors(out, order, far, MAX_READS)
    vars_before = graph_order.ancestors(out, order, reads_vars, MAX_READS)
    if nodes_before is None or vars_before is None:
        what = "outputs" if nodes_before is None else "variables"
        findings.problem(
            "graph", f"its nodes read {what} of others more than {MAX_READS:,} times in all: split the workflow"
        )
        return
    ids = [node.id for node in graph.nodes]
    for position, node in enumerate(graph.nodes):
        before = set(nodes_before.get(position, ())) | named[position].intersection(into[position])
        if named[position] is not everything:
            for missing in sorted(named[position] - before):
                findings.problem(node.place, f"config reads the output of {_unreadable(ids[missing], node)}")
        sources = into[position] if "inputs" in wants[position] else []
        needs = {
            "nodes": sorted(before, key=rank.__getitem__),
            "vars": vars_before.get(position, []),
            "inputs": list(dict.fromkeys(sources)),
        }
        found = {key: [ids[each] for each in positions] for key, positions in needs.items()}
        checked.needs.append({"input": checked.references[position].input, **found})


def _unreadable(other: str, node: RawNode) -> str:
    if other == node.id:
        return "the node itself"
    return f"node {quoted(other)}, which does not surely run before it: draw a way from {quoted(other)} to it"


def _named(references: References, index: Mapping[str, int], everything: frozenset[int]) -> frozenset[int]:
    if len(references.nodes) == len(everything):
        return everything
    return frozenset(index[node_id] for node_id in references.nodes)
