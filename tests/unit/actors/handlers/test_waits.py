"""Handlers that wait: what they answer, and what they are given when they are called again."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from dray.actors.context import Again, Branch, News, NodeContext, Wait, WaitForChild, WaitForSignal, uuid7
from dray.actors.errors import ChildFailed, ConfigError, NodeError, WaitTimedOut
from dray.actors.messages import ChildStart, NodeResult
from dray.actors.registry import handler
from tests.unit.actors.runner.harness import Harness

Run = Callable[..., Any]


# Answers


def test_what_a_handler_waits_for_travels_as_text(harness: Harness) -> None:
    answers: dict[str, Any] = {
        "signal": WaitForSignal("paid", 60, {"n": 1}),
        "child": WaitForChild("w", {"x": [1]}, 3, id="c1"),
        "again": Again(5),
        "started": WaitForChild("w", None, wait=False, output={"y": 2}, id="c2"),
    }

    @handler("waits")
    def waits(config: Any, ctx: NodeContext) -> Any:
        return answers[config["what"]]

    def result(what: str) -> NodeResult:
        return harness.run("waits", {"what": what})._replace(id=0, duration_ms=0)

    assert result("signal") == NodeResult(0, wait=60.0, awaits='{"state":{"n":1},"signal":"paid"}')
    assert result("child") == NodeResult(0, awaits='{"child":"c1"}', child=ChildStart("c1", "w", 3, '{"x":[1]}'))
    assert result("again") == NodeResult(0, wait=5.0, awaits="{}")
    assert result("started") == NodeResult(0, output='{"y":2}', child=ChildStart("c2", "w", None, "null"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (WaitForSignal(""), "a signal's name is a text of 1 to 200"),
        (WaitForSignal("a\0"), "a signal's name contains the character NUL"),
        (WaitForSignal("a", state={"x": object()}), "a object, which JSON cannot hold"),
        (WaitForSignal("a", state="x" * 11_000), "what the handler keeps while it waits has"),
        (WaitForChild("w", input="x" * 11_000), "the child's input has"),
        (WaitForChild("", {}), "a workflow's name is a text"),
        (WaitForChild("w", {}, version=0), "a version is a number from 1 on"),
        (WaitForChild("w", {}, version="2"), "a version is a number from 1 on"),  # type: ignore[arg-type]
    ],
)
def test_an_answer_that_cannot_be_stored_fails_the_node(harness: Harness, answer: Any, words: str) -> None:
    @handler("waits")
    def waits(config: Any, ctx: NodeContext) -> Any:
        return answer

    failure = harness.run("waits").failure
    assert failure is not None
    assert (failure.type, failure.retryable) == ("config", False)
    assert words in failure.message


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_time_that_never_comes_is_refused(seconds: float) -> None:
    for make in (Again, lambda s: WaitForSignal("a", s), lambda s: WaitForChild("w", timeout=s)):
        with pytest.raises(ValueError, match="finite number of seconds"):
            make(seconds)


@pytest.mark.parametrize(
    ("news", "state", "expected"),
    [
        (None, None, None),
        ('{"state":[1],"signal":{"name":"a","payload":2}}', [1], News(signal={"name": "a", "payload": 2})),
        ('{"state":null,"timed_out":true}', None, News(timed_out=True)),
        ('{"child":{"id":"c","status":"failed"}}', None, News(child={"id": "c", "status": "failed"})),
    ],
)
def test_a_handler_that_is_called_again_knows_why(
    harness: Harness, news: str | None, state: Any, expected: Any
) -> None:
    seen = []

    @handler("waits")
    def waits(config: Any, ctx: NodeContext) -> None:
        seen.append((ctx.news, ctx.state))

    assert harness.run("waits", news=news).failure is None
    assert seen == [(expected, state)]


def test_ids_of_children_are_in_the_order_of_their_making() -> None:
    made = []
    for _ in range(3):
        made.append(uuid.UUID(uuid7()))
        time.sleep(0.002)
    assert made == sorted(made)
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    assert abs((made[0].int >> 80) / 1000 - time.time()) < 60


# delay


def test_delay_until_a_time(run: Run) -> None:
    at = datetime.now(timezone(timedelta(hours=5))) + timedelta(hours=1)
    config = {"delay_type": "until_time", "target_time": "{{ input.at }}"}
    wait = run("delay", config, input={"at": at.isoformat()})
    assert (wait.seconds, wait.output) == (pytest.approx(3600, abs=60), {"delay_type": "until_time", "completed": True})
    naive = (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None).isoformat()
    assert run("delay", config, input={"at": naive}).seconds == pytest.approx(3600, abs=60), "without a zone it is UTC"
    local = run("wait", config | {"timezone": "Asia/Kolkata"}, input={"at": naive}).seconds
    assert local == 0.0, "5.5 hours earlier, and so past"


def test_delay_until_a_condition(run: Run) -> None:
    config = {"delay_type": "until_condition", "condition_expression": 'now > timestamp("2020-01-01T00:00:00Z")'}
    assert run("delay", config) == Wait(0.0, {"delay_type": "until_condition", "completed": True})
    config |= {"condition_expression": "input.ready and elapsed >= 0", "interval_seconds": 7}
    first = run("delay", config, input={"ready": False})
    assert (first.seconds, first.state["since"]) == (7, pytest.approx(time.time(), abs=60))
    since = {"since": time.time() - 3_598}
    assert run("delay", config, input={"ready": False}, state=since).seconds == pytest.approx(2, abs=2)
    with pytest.raises(WaitTimedOut, match="within 3600 s"):
        run("delay", config, input={"ready": False}, state={"since": time.time() - 3_600})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"delay_type": "until_time"}, "needs target_time"),
        ({"delay_type": "until_time", "target_time": "tomorrow"}, "target_time"),
        (
            {"delay_type": "until_time", "target_time": "2030-01-01", "timezone": "Moon/Base"},
            "'Moon/Base' is no time zone",
        ),
        ({"delay_type": "until_condition"}, "needs condition_expression"),
        ({"delay_type": "until_condition", "condition_expression": "true", "interval_seconds": 0.1}, "raise interval"),
        ({"delay_type": "until_doomsday"}, "delay_type"),
    ],
)
def test_delay_refuses(run: Run, config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run("delay", config)


# wait_for_signal, human_approval, sub_workflow


def test_wait_for_signal(run: Run) -> None:
    assert run("wait_for_signal", {"signal": "paid"}) == WaitForSignal("paid")
    config = {"signal_name": "{{ input.name }}", "timeout_seconds": 5}
    assert run("wait_for_signal", config, input={"name": "paid"}) == WaitForSignal("paid", 5)
    came = News(signal={"name": "paid", "payload": [1]})
    assert run("wait_for_signal", config, input={"name": "paid"}, news=came) == {"signal": "paid", "payload": [1]}
    with pytest.raises(WaitTimedOut, match="no signal 'paid' came within 5 s"):
        run("wait_for_signal", config, input={"name": "paid"}, news=News(timed_out=True))


ASK = {"message": "Ship {{ input.n }}?", "options": ["ship", "hold"], "timeout_seconds": 60}


def answered(payload: Any) -> News:
    return News(signal={"name": "human_input", "payload": payload})


def test_human_approval_asks(run: Run) -> None:
    wait = run("human_approval", ASK, input={"n": 3})
    assert (wait.name, wait.timeout) == ("human_input", 60)
    until = wait.state.pop("until")
    assert until == pytest.approx(time.time() + 60, abs=60)
    assert wait.state == {"message": "Ship 3?", "options": ["ship", "hold"]}
    assert run("human_approval", {}).state["options"] == ["approve", "reject"]


@pytest.mark.parametrize(
    ("payload", "output"),
    [
        ({"decision": "hold", "comment": "no"}, {"decision": "hold", "comment": "no"}),
        ("hold", {"decision": "hold"}),
    ],
)
def test_human_approval_is_answered(run: Run, payload: Any, output: Any) -> None:
    assert run("human_approval", ASK, input={"n": 3}, news=answered(payload)) == Branch("hold", output)


@pytest.mark.parametrize("payload", [None, {}, {"decision": "Hold"}, {"decision": ["hold"]}, 7])
def test_human_approval_goes_on_waiting_for_an_option(run: Run, payload: Any) -> None:
    state = {"until": time.time() + 30, "options": ["ship", "hold"], "message": ""}
    wait = run("human_approval", ASK, input={"n": 3}, news=answered(payload), state=state)
    assert (wait.name, wait.timeout, wait.state) == ("human_input", pytest.approx(30, abs=30), state)


def test_human_approval_in_vain(run: Run) -> None:
    with pytest.raises(WaitTimedOut, match=r"nobody answered within 60 s.*edge `timeout`"):
        run("human_approval", ASK, input={"n": 3}, news=News(timed_out=True))
    label = run("human_approval", ASK | {"on_timeout": "hold"}, input={"n": 3}, news=News(timed_out=True))
    assert label == Branch("hold", {"decision": None, "timed_out": True})


@pytest.mark.parametrize("node_type", ["sub_workflow", "sub-workflow"])
def test_sub_workflow_starts(run: Run, node_type: str) -> None:
    child = run(node_type, {"workflow_id": "w"}, input={"n": 3})
    assert (child.workflow, child.input, child.version, child.wait) == ("w", {"n": 3}, None, False)
    assert child.output == {"sub_workflow_id": "w", "sub_execution_id": child.id, "status": "started"}
    config = {"sub_workflow_id": 7, "version": 2, "input_data": {"m": "{{ input.n }}"}, "wait_for_completion": True}
    waited = run(node_type, config, input={"n": 3})
    assert replace(waited, id="") == WaitForChild("7", {"m": 3}, 2, timeout=3_600, id="")


def test_sub_workflow_ends(run: Run) -> None:
    config = {"workflow": "w", "wait_for_completion": True}

    def end(**child: Any) -> Any:
        return run("sub_workflow", config, news=News(child={"id": "c1", "output": None, "error": None, **child}))

    done = {"sub_workflow_id": "w", "sub_execution_id": "c1", "status": "completed", "result": [1]}
    assert end(status="completed", output=[1]) == done
    with pytest.raises(ChildFailed, match="execution c1 of workflow 'w' failed at node 'a': config: bad"):
        end(status="failed", error={"type": "config", "message": "bad", "node": "a"})
    with pytest.raises(ChildFailed, match=r"w' cancelled$"):
        end(status="cancelled")
    with pytest.raises(WaitTimedOut, match="3600 s and is cancelled"):
        run("sub_workflow", config, news=News(timed_out=True))


def test_waiting_in_vain_is_not_tried_again() -> None:
    for error in (ChildFailed("x"), WaitTimedOut("x")):
        assert isinstance(error, NodeError)
        assert not error.retryable


def test_news_of_a_child_may_hold_any_output(harness: Harness) -> None:
    news = json.dumps({"child": {"id": "c", "status": "completed", "output": {"x": 1}, "error": None}})
    output = harness.output("sub_workflow", {"workflow_id": "w", "wait_for_completion": True}, news=news, input="{}")
    assert output["result"] == {"x": 1}
