"""The smallest graph in which the engine and the page still differ in the same way."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from tests.oracle.compare import compare

ORDERS = 12  # in which a smaller graph is tried, beside the one that showed the difference


def kind_of(difference: str) -> str:
    """What sort of difference it is, without the names in it."""
    text = re.sub(r"\{.*|\[.*|'.*", "", difference)
    return " ".join(re.sub(r"\S*[a-z]\d+\S*|[\d.]+", "", text).split()[:6])


def shrink(graph: dict[str, Any], seed: str, difference: str) -> tuple[dict[str, Any], str, str]:
    """The graph, the seed with which it differs, and how."""
    wanted = kind_of(difference)
    seeds = [seed, *(f"{seed}.{number}" for number in range(ORDERS))]
    smaller = True
    while smaller:
        smaller = False
        for candidate in smaller_ones(graph):
            found = compare(candidate, seeds)
            if found and kind_of(found[1]) == wanted:
                graph, (seed, difference), smaller = candidate, found, True
                seeds = [seed, *(each for each in seeds if each != seed)]
                break
    return graph, seed, difference


def smaller_ones(graph: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for node in reversed(graph["nodes"]):
        name = node["id"]
        if graph.get("entry_node_id") == name:
            continue
        rest = [each for each in graph["nodes"] if each is not node]
        edges = [each for each in graph["edges"] if name not in (each["from"], each["to"])]
        yield without_reads({**graph, "nodes": rest, "edges": edges}, name)
        into = [each for each in graph["edges"] if each["to"] == name and each["from"] != name]
        out = [each for each in graph["edges"] if each["from"] == name and each["to"] != name]
        bridges = [{**a, "to": b["to"]} for a in into for b in out]
        if bridges:
            yield without_reads({**graph, "nodes": rest, "edges": edges + [e for e in bridges if e not in edges]}, name)
    for edge in graph["edges"]:
        yield {**graph, "edges": [each for each in graph["edges"] if each is not edge]}
    if "entry_node_id" in graph:
        yield {key: value for key, value in graph.items() if key != "entry_node_id"}
    for at, node in enumerate(graph["nodes"]):
        for simple in simpler(node):
            yield {**graph, "nodes": [*graph["nodes"][:at], simple, *graph["nodes"][at + 1 :]]}
    for at, edge in enumerate(graph["edges"]):
        if "branch" in edge and edge["branch"] in ("success", "body", "done", "true", "false"):
            bare = {"from": edge["from"], "to": edge["to"]}
            yield {**graph, "edges": [*graph["edges"][:at], bare, *graph["edges"][at + 1 :]]}


def simpler(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in set(node) - {"id", "type", "config"}:
        yield {name: value for name, value in node.items() if name != key}
    config = node["config"]
    if node["type"] in ("merge", "finally", "set_variable"):
        yield {"id": node["id"], "type": "work", "config": {}, "max_retries": 0}
    for name in config.get("reads", {}):
        reads = {key: value for key, value in config["reads"].items() if key != name}
        yield {
            **node,
            "config": {**config, "reads": reads} if reads else {k: v for k, v in config.items() if k != "reads"},
        }
    for key in ("loop_label", "max_iterations", "max_parallel", "on_error", "merge_strategy", "error_type"):
        if key in config:
            yield {**node, "config": {name: value for name, value in config.items() if name != key}}
    if isinstance(items := config.get("array_expression"), list) and items:
        yield {**node, "config": {**config, "array_expression": items[:-1]}}
    if isinstance(many := config.get("repeat_count"), int) and many:
        yield {**node, "config": {**config, "repeat_count": many - 1}}


def without_reads(graph: dict[str, Any], name: str) -> dict[str, Any]:
    """The graph, in which nobody reads the node that is gone."""
    graph = copy.deepcopy(graph)
    for node in graph["nodes"]:
        reads = node["config"].get("reads", {})
        for each in [key for key in reads if key.startswith(f"nodes.{name}.")]:
            del reads[each]
        if f"nodes.{name}." in str(node["config"].get("variable_value", "")):
            node["config"]["variable_value"] = "a"
        if f"nodes.{name}." in str(node["config"].get("condition_expression", "")):
            node["config"]["condition_expression"] = "false"
    return graph
