"""Workflows as authors write them, run without a database and without runners, by the handlers that runners call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from dray.actors.messages import NodeFailure, NodeResult, NodeSpec, NodeTask
from dray.actors.runner.call import Call, Prepared
from dray.cluster.execution.attempts import Policy
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Region
from tests.unit.cluster.execution.simulation import Simulation, with_crashes
from tests.unit.cluster.graphs import HANDLERS, node


def drawn(text: str) -> list[dict[str, Any]]:
    """Edges as they are drawn: "a -> b -true-> c; a -> d", an arrow with a label or without."""
    found = []
    for path in text.split(";"):
        words = path.split()
        for source, arrow, target in zip(words[0::2], words[1::2], words[2::2], strict=False):
            label = arrow.removesuffix("->").removeprefix("-")
            found.append({"from": source, "to": target, **({"branch": label} if label else {})})
    return found


def source(nodes: Sequence[dict[str, Any]], edges: str, **rest: Any) -> dict[str, Any]:
    """A file. Nodes that only the edges name are plain: they give what their config has under `see`, else their key."""
    ways = drawn(edges)
    named = {each["id"] for each in nodes}
    plain = dict.fromkeys(end for each in ways for end in (each["from"], each["to"]) if end not in named)
    return {"nodes": [*nodes, *map(node, plain)], "edges": ways, **rest}


def condition(node_id: str, text: str = "input.x") -> dict[str, Any]:
    return node(node_id, "condition", condition=text)


def setter(node_id: str, name: str, value: Any) -> dict[str, Any]:
    return node(node_id, "set_variable", variable_name=name, variable_value=value)


def run(
    written: dict[str, Any],
    given: Any = None,
    fails: Collection[str] = (),
    order: int = 0,
    policy: Policy | None = None,
    crashes: bool = True,
) -> Simulation:
    """One execution. given: its input. fails: keys of nodes that fail. crashes: also begin again after each commit."""
    graph = load(7, "w", 1, canonical(written, HANDLERS))
    specs = {spec.key: spec for spec in _specs(graph.root)}

    def handler(task: NodeTask) -> NodeResult:
        if task.node_key in fails:
            return NodeResult(0, failure=NodeFailure("Boom", f"{task.node_key} fails", retryable=False))
        spec = specs[task.spec]
        call = Call(task, Prepared(spec, HANDLERS[spec.type], None))
        call.begin()
        if spec.type == "plain":
            config = call.prepared.config(call.ctx.scope)
            return NodeResult(0, json.dumps(config.get("see", task.node_key)))
        return asyncio.run(call.run_async(1 << 20)) if call.prepared.is_async else call.run(1 << 20)

    text = json.dumps(given if given is not None else {})
    if crashes:
        return with_crashes(graph, handler, policy, order, text)
    return Simulation(graph, handler, policy, order, text).begin().to_the_end()


def _specs(region: Region) -> Iterator[NodeSpec]:
    for each in region.nodes:
        yield each.spec
        if each.inner is not None:
            yield from _specs(each.inner)
