"""Waits for signals, people, children, times and conditions, in a driver on a real database with runners in threads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client, Execution
from dray.store.driver_store import DriverStore
from tests.db.test_driver import driving, until
from tests.pg import Sql

HANDLERS = load_handlers()


def node(node_id: str, node_type: str, **config: Any) -> dict[str, Any]:
    return {"id": node_id, "type": node_type, "config": config}


def edge(start: str, end: str, branch: str | None = None) -> dict[str, Any]:
    return {"from": start, "to": end, **({"branch": branch} if branch else {})}


def apply(client: Client, name: str, nodes: list[dict[str, Any]], *edges: dict[str, Any]) -> None:
    client.apply_workflow(name, canonical({"nodes": nodes, "edges": list(edges)}, HANDLERS))


def ended(client: Client, execution: str, ending: str = "completed") -> Execution:
    found = client.wait(execution, 60)
    assert found.status == ending, found.error
    return found


def parked(client: Client, execution: str) -> None:
    until(lambda: client.get(execution).status == "waiting", 60)


GO = node("go", "wait_for_signal", signal_name="go")
SAY = node("say", "set_variable", variable_name="v", variable_value="{{ input.n }}")


def test_a_node_waits_for_its_signal(store: DriverStore, client: Client, sql: Sql) -> None:
    apply(client, "w", [GO])
    with driving(store):
        execution = client.submit("w")
        parked(client, execution)
        client.signal(execution, "stop")
        client.signal(execution, "go", {"n": 1})
        assert ended(client, execution).output == {"signal": "go", "payload": {"n": 1}}
    assert sql("SELECT name, consumed_by FROM dray.signal ORDER BY id") == [("stop", None), ("go", "go")]
    assert [each.kind for each in client.attempts(execution)] == ["awaiting", "completed"]


def test_an_execution_keeps_its_graph_when_a_new_version_comes_while_it_waits(
    store: DriverStore, client: Client
) -> None:
    def say(value: str) -> dict[str, Any]:
        return node("say", "set_variable", variable_name="v", variable_value=value)

    apply(client, "w", [GO, say("old"), node("end", "log", message="end")], edge("go", "say"), edge("say", "end"))
    with driving(store):
        old = client.submit("w")
        parked(client, old)
    apply(client, "w", [GO, say("new"), node("other", "log", message="other")], edge("go", "say"), edge("say", "other"))
    with driving(store):  # another driver, which has never seen the old version
        new = client.submit("w")
        parked(client, new)
        for execution in (old, new):
            client.signal(execution, "go")
            ended(client, execution)
    assert [(client.get(each).version, client.attempts(each)[-1].node_key) for each in (old, new)] == [
        (1, "end"), (2, "other"),
    ]  # fmt: skip
    assert [each.outcome["value"] for each in client.attempts(old) if each.node_key == "say"] == ["old"]


def test_a_signal_that_came_early_counts(store: DriverStore, client: Client) -> None:
    apply(client, "w", [GO])
    execution = client.submit("w")
    client.signal(execution, "go", 1)
    with driving(store):
        assert ended(client, execution).output["payload"] == 1


def test_a_signal_comes_while_another_node_runs(store: DriverStore, client: Client, tmp_path: Path) -> None:
    over = tmp_path / "over"
    script = f"until test -e {over}; do sleep 0.05; done"
    apply(client, "w", [GO, node("long", "code", code=script, language="bash", timeout_seconds=200)])
    with driving(store):
        execution = client.submit("w")
        until(lambda: bool(client.attempts(execution)), 60)
        client.signal(execution, "go", 1)
        until(
            lambda: {"go": "completed"}.items() <= {a.node_key: a.kind for a in client.attempts(execution)}.items(), 60
        )
        assert client.get(execution).status == "running", "it did not wait for the other"
        over.touch()
        ended(client, execution)


def test_many_waits_for_one_name_take_a_signal_each(store: DriverStore, client: Client) -> None:
    apply(client, "w", [{**GO, "id": f"go{n}"} for n in range(3)])
    with driving(store):
        execution = client.submit("w")
        for n in range(3):
            client.signal(execution, "go", n)
        output = ended(client, execution).output
        assert sorted(each["payload"] for each in output.values()) == [0, 1, 2]


def test_a_signal_may_name_its_node(store: DriverStore, client: Client) -> None:
    apply(client, "w", [GO, {**GO, "id": "other"}])
    with driving(store):
        execution = client.submit("w")
        client.signal(execution, "go", "second", node="other")
        client.signal(execution, "go", "first", node="go")
        output = ended(client, execution).output
        assert {key: each["payload"] for key, each in output.items()} == {"go": "first", "other": "second"}


def test_a_signal_that_does_not_come_in_time_takes_the_failed_edge(store: DriverStore, client: Client) -> None:
    late = node("go", "wait_for_signal", signal_name="go", timeout_seconds=0.2)
    apply(client, "w", [late, SAY], edge("go", "say", "failed"))
    apply(client, "v", [late])
    with driving(store):
        assert ended(client, client.submit("w", {"n": 5})).output["value"] == 5
        found = ended(client, client.submit("v"), "failed")
        assert found.error is not None
        assert (found.error["type"], found.error["node"]) == ("WaitTimedOut", "go")


ASK = node("ask", "human_approval", message="Ship {{ input.n }}?", options=["ship", "stop"])


def test_a_person_decides(store: DriverStore, client: Client) -> None:
    apply(
        client,
        "w",
        [ASK, SAY, node("no", "delay", delay_seconds=0)],
        edge("ask", "say", "ship"),
        edge("ask", "no", "stop"),
    )
    with driving(store):
        execution = client.submit("w", {"n": 5})
        parked(client, execution)
        client.signal(execution, "human_input", {"decision": "perhaps"})
        until(lambda: len(client.attempts(execution)) == 2, 60)
        client.signal(execution, "human_input", {"decision": "ship", "by": "Ada"})
        found = ended(client, execution)
    answers = [(each.kind, each.branch) for each in client.attempts(execution) if each.node_key == "ask"]
    assert answers == [("awaiting", None), ("awaiting", None), ("completed", "ship")]
    assert found.output == {"say": {"variable_name": "v", "value": 5, "scope": "workflow"}}


def test_nobody_decides(store: DriverStore, client: Client) -> None:
    late = node("ask", "human_approval", timeout_seconds=0.2)
    apply(client, "w", [late, SAY], edge("ask", "say", "timeout"))
    with driving(store):
        assert ended(client, client.submit("w", {"n": 5})).output["value"] == 5


def sub(wait: bool = True, **config: Any) -> dict[str, Any]:
    return node("sub", "sub_workflow", workflow_id="child", wait_for_completion=wait, **config)


def test_a_child_gives_its_output(store: DriverStore, client: Client) -> None:
    apply(client, "child", [SAY])
    apply(client, "w", [sub(input_data={"n": "{{ input.m }}"})])
    apply(client, "v", [sub()])
    with driving(store, concurrency=1, claim_batch=1):  # the parent holds no place
        output = ended(client, client.submit("w", {"m": 7})).output
        assert (output["status"], output["result"]["value"]) == ("completed", 7)
        assert client.get(output["sub_execution_id"]).workflow == "child"
        assert ended(client, client.submit("v", {"n": 8})).output["result"]["value"] == 8


def test_a_child_that_nobody_waits_for(store: DriverStore, client: Client) -> None:
    apply(client, "child", [node("x", "delay", delay_seconds=0.5), SAY], edge("x", "say"))
    apply(client, "w", [sub(wait=False)])
    with driving(store):
        output = ended(client, client.submit("w", {"n": 8})).output
        assert output["status"] == "started"
        assert ended(client, output["sub_execution_id"]).output["value"] == 8


def test_the_failure_of_a_child_comes_up(store: DriverStore, client: Client) -> None:
    apply(client, "child", [node("x", "condition", condition="input.none > 1")])
    apply(client, "w", [sub()])
    with driving(store):
        execution = client.submit("w", {})
        error = ended(client, execution, "failed").error
        assert error is not None
        assert (error["type"], error["node"]) == ("ChildFailed", "sub")
        assert "at node 'x'" in error["message"]
    assert [each.kind for each in client.attempts(execution)] == ["awaiting", "failed"], "it is not tried again"


def test_a_child_that_takes_too_long_is_cancelled(store: DriverStore, client: Client) -> None:
    apply(client, "child", [GO])
    apply(client, "w", [sub(timeout_seconds=0.3), SAY], edge("sub", "say", "failed"))
    with driving(store):
        execution = client.submit("w", {"n": 5})
        assert ended(client, execution).output["value"] == 5
        (wait, *_) = client.attempts(execution)
        ended(client, wait.outcome["child"], "cancelled")


def test_an_unknown_workflow_fails_its_node_alone(store: DriverStore, client: Client) -> None:
    apply(client, "w", [sub()])
    apply(client, "v", [SAY])
    with driving(store):
        good, bad = client.submit("v", {"n": 5}), client.submit("w")
        error = ended(client, bad, "failed").error
        assert error is not None
        assert 'no workflow named "child"' in error["message"]
        ended(client, good)


def test_a_workflow_that_starts_itself_ends(store: DriverStore, client: Client) -> None:
    apply(client, "child", [sub()])
    with driving(store):
        error = ended(client, client.submit("child"), "failed").error
        assert error is not None
        assert "10 is the most" in error["message"]


def test_the_cancel_of_a_parent_reaches_its_children(store: DriverStore, client: Client, sql: Sql) -> None:
    apply(client, "child", [GO])
    apply(client, "w", [sub()])
    with driving(store):
        execution = client.submit("w")
        parked(client, execution)
        (wait,) = client.attempts(execution)
        parked(client, wait.outcome["child"])
        client.cancel(execution)
        ended(client, wait.outcome["child"], "cancelled")


LEAVE = node("leave", "wait_for_signal", signal_name="leave")
WAITS = [sub(), node("ask", "human_approval", message="ship it?", options=["yes", "no"])]
DROPPING: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "fork": (
        [node("f", "trigger", parallel_wait_mode="any"), LEAVE, *WAITS, node("j", "merge"), GO],
        [
            *(edge("f", each) for each in ("leave", "sub", "ask")),
            *(edge(each, "j") for each in ("leave", "sub", "ask")),
            edge("j", "go"),
        ],
    ),
    "break": (
        [node("f", "for", items=[1, 2]), node("turn", "merge"), LEAVE, *WAITS, node("stop", "break"), GO],
        [
            edge("f", "turn", "body"),
            *(edge("turn", each) for each in ("leave", "sub", "ask")),
            edge("leave", "stop"),
            edge("sub", "f"),
            edge("ask", "f"),
            edge("f", "go", "done"),
        ],
    ),
}


@pytest.mark.parametrize("by", DROPPING)
def test_what_is_not_needed_any_more_leaves_no_child_and_no_question(
    store: DriverStore, client: Client, by: str
) -> None:
    nodes, edges = DROPPING[by]
    apply(client, "child", [GO])
    apply(client, "w", nodes, *edges)
    with driving(store):
        execution = client.submit("w")
        until(lambda: len(client.attempts(execution)) >= 4 and client.get(execution).status == "waiting", 60)
        (child,) = [each.outcome["child"] for each in client.attempts(execution) if each.node_key.endswith("sub")]
        parked(client, child)
        assert len(client.approvals()) == 1
        client.signal(execution, "leave")
        ended(client, child, "cancelled")
        assert client.approvals() == []
        parked(client, execution)
        dropped = sorted(each.node_key for each in client.attempts(execution) if each.kind == "dropped")
        assert [each.rpartition("/")[2] for each in dropped] == ["ask", "sub"]
        client.signal(execution, "go")
        ended(client, execution)


def test_a_time_and_a_condition(store: DriverStore, client: Client) -> None:
    until_time = node("at", "delay", delay_type="until_time", target_time="{{ input.at }}")
    until_true = node(
        "if",
        "delay",
        delay_type="until_condition",
        condition_expression="elapsed > 0.3",
        interval_seconds=0.1,
        timeout_seconds=60,
    )
    apply(client, "w", [until_time, until_true], edge("at", "if"))
    with driving(store):
        began = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began + 2))  # without a zone it is UTC
        execution = client.submit("w", {"at": at})
        assert ended(client, execution).output == {"delay_type": "until_condition", "completed": True}
        assert time.time() >= began + 1
    assert "awaiting" in [each.kind for each in client.attempts(execution)]


@pytest.mark.parametrize("then", ["signal", "child"])
def test_a_driver_that_stops_while_an_execution_waits_is_not_missed(
    store: DriverStore, client: Client, then: str
) -> None:
    apply(client, "child", [GO])
    apply(client, "w", [sub() if then == "child" else GO])
    with driving(store):
        execution = client.submit("w")
        parked(client, execution)
        target = execution
        if then == "child":
            target = client.attempts(execution)[0].outcome["child"]
            parked(client, target)
    client.signal(target, "go", 1)
    with driving(store):
        ended(client, execution)
