"""Loops, as people write them, on a real database with a driver in this process."""

from __future__ import annotations

from typing import Any

from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client, Execution
from dray.store.driver_store import DriverStore
from tests.db.test_driver import HANDLERS, driving


def edge(ends: str, label: str | None = None) -> dict[str, Any]:
    source, target = ends.split()
    return {"from": source, "to": target, **({"label": label} if label else {})}


def variable(node_id: str, name: str, value: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "set_variable", "config": {"variable_name": name, "variable_value": value}}


def run(
    store: DriverStore, client: Client, nodes: list[Any], edges: list[Any], given: Any = None, **rest: Any
) -> Execution:
    client.apply_workflow("w", canonical({"nodes": nodes, "edges": edges, **rest}, HANDLERS))
    execution = client.submit("w", given or {})
    with driving(store):
        return client.wait(execution, 60)


def keys(client: Client, execution: str) -> set[str]:
    return {each.node_key for each in client.attempts(execution)}


def test_a_sum_over_the_items_of_the_input(store: DriverStore, client: Client) -> None:
    nodes = [
        variable("zero", "sum", 0),
        {"id": "L", "type": "for", "config": {"array_expression": "input.rows", "loop_variable": "row"}},
        variable("add", "sum", "{{ vars.sum + row.price * (index + 1) }}"),
        {"id": "after", "type": "get_variable", "config": {"variable_name": "sum"}},
    ]
    edges = [edge("zero L"), edge("L add", "body"), edge("add L"), edge("L after", "done")]
    found = run(store, client, nodes, edges, {"rows": [{"price": 2}, {"price": 3}, {"price": 5}]})
    assert (found.error, found.output) == (None, {"variable_name": "sum", "value": 23, "found": True})
    assert keys(client, found.id) == {"zero", "L[]", "L[0]/add", "L[1]/add", "L[2]/add", "L", "after"}


def test_while_reads_its_own_body(store: DriverStore, client: Client) -> None:
    nodes = [
        {"id": "L", "type": "while", "config": {"condition_expression": "nodes.count.output.value != 3"}},
        variable("count", "n", "{{ has(vars.n) ? vars.n + 1 : 1 }}"),
        {"id": "after", "type": "get_variable", "config": {"variable_name": "n"}},
    ]
    found = run(store, client, nodes, [edge("L count", "body"), edge("count L"), edge("L after", "done")])
    assert found.error is None
    assert found.output["value"] == 3


def test_a_foreach_in_a_foreach(store: DriverStore, client: Client) -> None:
    nodes = [
        {"id": "L", "type": "foreach", "config": {"items": "input.rows", "loop_variable": "row"}},
        {"id": "I", "type": "foreach", "config": {"items": "row.cells", "loop_variable": "cell", "max_parallel": 2}},
        variable("value", "x", "{{ string(row.name) + ':' + string(cell) + ':' + string(index) }}"),
    ]
    edges = [edge("L I", "body"), edge("I value", "body"), edge("value I"), edge("I L")]
    rows = [{"name": "a", "cells": [1, 2, 3]}, {"name": "b", "cells": []}]
    found = run(store, client, nodes, edges, {"rows": rows})
    assert found.error is None
    first, second = found.output["results"]
    assert [each["value"] for each in first["results"]] == ["a:1:0", "a:2:1", "a:3:2"]
    assert second == {"count": 0, "results": [], "errors": []}


def test_poll_until_ready(store: DriverStore, client: Client) -> None:
    nodes = [
        variable("poll", "n", "{{ has(vars.n) ? vars.n + 1 : 1 }}"),
        {"id": "ready", "type": "condition", "config": {"condition": "nodes.poll.output.value >= 3"}},
        {"id": "pause", "type": "delay", "config": {"delay_seconds": 0.01}},
        {"id": "after", "type": "get_variable", "config": {"variable_name": "n"}},
    ]
    edges = [edge("poll ready"), edge("ready after", "true"), edge("ready pause", "false"), edge("pause poll")]
    found = run(store, client, nodes, edges)
    assert found.error is None
    assert found.output["value"] == 3
    assert {"poll[0]/poll", "poll[2]/ready", "after"} <= keys(client, found.id)


def test_a_loop_that_does_not_end_is_ended(store: DriverStore, client: Client) -> None:
    nodes = [
        {"id": "L", "type": "while", "config": {"condition_expression": "true", "max_iterations": 5}},
        variable("body", "n", 1),
    ]
    found = run(store, client, nodes, [edge("L body", "body"), edge("body L")])
    assert found.status == "failed"
    assert (found.error or {})["type"] == "iteration_limit"


def test_a_thousand_items(store: DriverStore, client: Client) -> None:
    nodes = [
        {"id": "L", "type": "foreach", "config": {"items": "input.rows", "max_parallel": 100}},
        variable("body", "n", "{{ item * 2 }}"),
        {
            "id": "after",
            "type": "map",
            "config": {"input_array": "{{ nodes.body.output }}", "map_expression": "item.value"},
        },
    ]
    edges = [edge("L body", "body"), edge("body L"), edge("L after", "done")]
    found = run(store, client, nodes, edges, {"rows": list(range(1_000))})
    assert found.error is None
    assert found.output["result"] == [2 * each for each in range(1_000)]
