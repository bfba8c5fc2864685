"""What people build from the parts: loops around waits, forks in try, children in loops; paused, retried, run again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from tests.db.test_driver import HANDLERS, driving, until
from tests.db.test_loops import edge, variable


def apply(client: Client, name: str, nodes: list[Any], edges: list[Any], **rest: Any) -> None:
    client.apply_workflow(name, canonical({"nodes": nodes, "edges": edges, **rest}, HANDLERS))


def node(node_id: str, node_type: str, **config: Any) -> dict[str, Any]:
    return {"id": node_id, "type": node_type, "max_retries": 0, "config": config}


def waits(client: Client, execution: str, count: int) -> Callable[[], bool]:
    return lambda: client.get(execution).status == "waiting" and len(client.approvals(execution=execution)) == count


def test_an_approval_for_every_item_of_a_foreach(store: DriverStore, client: Client) -> None:
    nodes = [
        node("each", "foreach", items="input.rows", loop_variable="row"),
        node("ask", "human_approval", approval_message="{{ row }}?"),
        variable("yes", "answer", "{{ row + ' yes' }}"),
        variable("no", "answer", "{{ row + ' no' }}"),
    ]
    edges = [
        edge("each ask", "body"),
        edge("ask yes", "approve"),
        edge("ask no", "reject"),
        edge("yes each"),
        edge("no each"),
    ]
    apply(client, "w", nodes, edges)
    execution = client.submit("w", {"rows": ["a", "b", "c"]})
    with driving(store):
        until(waits(client, execution, 3))
        open_ones = {each.message: each.node for each in client.approvals(execution=execution)}
        client.approve(execution, "reject", node=open_ones["b?"])
        until(waits(client, execution, 2))
    with driving(store):  # another driver goes on
        for message in ("a?", "c?"):
            client.approve(execution, "approve", node=open_ones[message])
        found = client.wait(execution, 30)
    assert found.error is None
    assert [each["value"] for each in found.output["results"]] == ["a yes", "b no", "c yes"]


def test_children_in_a_loop_one_after_another(store: DriverStore, client: Client) -> None:
    apply(client, "child", [variable("twice", "n", "{{ input.n * 2 }}")], [])
    nodes = [
        node("loop", "for", array_expression="[1, 2, 3]"),
        node("call", "sub_workflow", workflow="child", input_data={"n": "{{ item }}"}, wait_for_completion=True),
        variable("sum", "sum", "{{ (has(vars.sum) ? vars.sum : 0) + nodes.call.output.result.value }}"),
        node("after", "get_variable", variable_name="sum"),
    ]
    edges = [edge("loop call", "body"), edge("call sum"), edge("sum loop"), edge("loop after", "done")]
    apply(client, "parent", nodes, edges)
    execution = client.submit("parent")
    with driving(store):
        found = client.wait(execution, 60)
    assert found.error is None
    assert found.output["value"] == 12
    assert len(client.list(workflow="child")) == 3


def test_a_failure_in_a_loop_in_a_try_is_caught_and_the_rest_goes_on(store: DriverStore, client: Client) -> None:
    nodes = [
        node("try", "try"),
        node("loop", "for", array_expression="[1, 2, 3]"),
        node("work", "code", language="bash", code="exit 3"),
        node("catch", "catch"),
        variable("note", "what", "{{ error.message }}"),
        node("finally", "finally"),
        variable("end", "end", "{{ nodes.catch.output.caught }}"),
    ]
    edges = [
        edge("try loop"), edge("loop work", "body"), edge("work loop"), edge("loop catch", "done"), edge("catch note"),
        edge("note finally"), edge("finally end"),
    ]  # fmt: skip
    apply(client, "w", nodes, edges)
    execution = client.submit("w")
    with driving(store):
        found = client.wait(execution, 60)
    assert (found.error, found.output["value"]) == (None, True)
    note = next(each for each in client.attempts(execution) if each.node_key == "note")
    assert "exit" in note.outcome["value"]


def test_paused_in_a_loop_and_resumed(store: DriverStore, client: Client) -> None:
    nodes = [
        node("loop", "repeat", repeat_count=20),
        node("pause", "delay", delay_seconds=0.05),
    ]
    apply(client, "w", nodes, [edge("loop pause", "body"), edge("pause loop")])
    execution = client.submit("w")
    with driving(store):
        until(lambda: len(client.attempts(execution)) > 3)
        client.pause(execution)
        until(lambda: client.get(execution).status == "paused")
        recorded = len(client.attempts(execution))
        time.sleep(0.3)
        assert len(client.attempts(execution)) == recorded, "nothing of it goes on"
        client.resume(execution)
        found = client.wait(execution, 60)
    assert found.output == {"iterations": 20, "ended_by": "done"}
    keys = [each.node_key for each in client.attempts(execution)]
    assert len(keys) == len(set(keys)), "nothing ran twice"


def test_a_loop_is_retried_from_the_item_that_failed(store: DriverStore, client: Client) -> None:
    nodes = [
        node("each", "foreach", items="input.rows", max_parallel=1),
        node("work", "code", language="python", code="import json, os, sys\nn = json.load(sys.stdin)['n']\n"
             "result = 10 // n", input_data={"n": "{{ item }}"}),
    ]  # fmt: skip
    apply(client, "w", nodes, [edge("each work", "body"), edge("work each")])
    execution = client.submit("w", {"rows": [1, 2, 0, 5]})
    with driving(store):
        failed = client.wait(execution, 60)
        assert failed.status == "failed"
        again = client.retry(execution)
        assert client.wait(again, 60).status == "failed"
        new = [each for each in client.attempts(again) if each.at > (failed.finished_at or each.at)]
        assert {each.node_key for each in new} == {"each[2]/work"}, "only what failed runs again"
        other = client.rerun(again, "each", {"rows": [1, 2]})
        found = client.wait(other, 60)
    assert [each["result"] for each in found.output["results"]] == [10, 5]


def test_the_first_of_three_branches_in_a_foreach_is_enough(store: DriverStore, client: Client) -> None:
    nodes = [
        node("each", "foreach", items="[1, 2, 3, 4]"),
        {**node("fork", "set_variable", variable_name="x", variable_value="{{ item }}"), "parallel_wait_mode": "any"},
        node("slow", "delay", delay_seconds=30),
        node("broken", "code", language="bash", code="exit 1"),
        variable("quick", "y", "{{ item * 10 }}"),
        node("join", "merge"),
    ]
    edges = [
        edge("each fork", "body"), edge("fork slow"), edge("fork broken"), edge("fork quick"), edge("slow join"),
        edge("broken join"), edge("quick join"), edge("join each"),
    ]  # fmt: skip
    apply(client, "w", nodes, edges)
    execution = client.submit("w")
    with driving(store):
        found = client.wait(execution, 25)
    assert found.error is None
    assert [each["result"]["value"] for each in found.output["results"]] == [10, 20, 30, 40]


def test_cancel_reaches_the_children_of_a_loop(store: DriverStore, client: Client) -> None:
    apply(client, "child", [node("sleep", "delay", delay_seconds=600)], [])
    nodes = [
        node("each", "foreach", items="[1, 2, 3]"),
        node("call", "sub_workflow", workflow="child", wait_for_completion=True),
    ]
    apply(client, "parent", nodes, [edge("each call", "body"), edge("call each")])
    execution = client.submit("parent")
    with driving(store):
        until(lambda: [each.status for each in client.list(workflow="child")] == ["waiting"] * 3)
        client.cancel(execution)
        until(lambda: [each.status for each in client.list(workflow="child")] == ["cancelled"] * 3)
    assert client.get(execution).status == "cancelled"
