"""An execution that waits for a signal, a person and a child, with its handlers on real Ray runners."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from tests.chaos.drivers import PATIENCE, driver

pytestmark = pytest.mark.ray


def apply(client: Client, name: str, nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> None:
    client.apply_workflow(name, canonical({"nodes": nodes, "edges": edges}, load_handlers()))


def waiting(client: Client, execution: str, node: str) -> None:
    until = time.monotonic() + PATIENCE
    while (node, "awaiting") not in [(each.node_key, each.kind) for each in client.attempts(execution)]:
        assert time.monotonic() < until, client.get(execution)
        time.sleep(0.05)


def test_waits_on_ray(database: str, client: Client, tmp_path: Path) -> None:
    child = {"id": "twice", "type": "map", "config": {"input_array": "{{ input.n }}", "map_expression": "item * 2"}}
    nap = {"id": "nap", "type": "delay", "config": {"delay_seconds": 0.1}}
    apply(client, "child", [nap, child], [{"from": "nap", "to": "twice"}])
    nodes = [
        {"id": "go", "type": "wait_for_signal", "config": {"signal_name": "go"}},
        {"id": "ask", "type": "human_approval", "config": {"message": "{{ nodes.go.output.payload }}"}},
        {
            "id": "call",
            "type": "sub_workflow",
            "config": {"workflow_id": "child", "wait_for_completion": True, "input_data": {"n": [1, 2]}},
        },
        {"id": "start", "type": "sub_workflow", "config": {"workflow_id": "child", "input_data": {"n": [3]}}},
    ]
    edges = [
        {"from": "go", "to": "ask"},
        {"from": "ask", "to": "call", "branch": "approve"},
        {"from": "call", "to": "start"},
    ]
    apply(client, "parent", nodes, edges)
    with driver(database, tmp_path, executor="ray", runners=1, handlers="") as running:
        execution = client.submit("parent")
        waiting(client, execution, "go")
        client.signal(execution, "go", "Really?")
        waiting(client, execution, "ask")
        (asked,) = client.approvals(execution)
        assert asked.message == "Really?"
        client.approve(execution, "approve")
        found = client.wait(execution, PATIENCE)
        assert found.status == "completed", (found.error, running.said)
        started = client.wait(found.output["sub_execution_id"], PATIENCE)
        assert started.output == {"result": [6], "count": 1}
        assert running.stop() == 0, running.said
    done = {each.node_key: each for each in client.attempts(execution) if each.kind == "completed"}
    assert done["call"].outcome["result"] == {"result": [2, 4], "count": 2}
    assert {each.runner is not None for each in done.values()} == {True}
