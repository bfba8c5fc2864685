"""A runner: nodes in, results out, side by side, cancelled, one type limited. Deadlines: test_deadlines.py."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dray.actors.context import Branch, NodeContext, Wait
from dray.actors.messages import NodeFailure, NodeSpec, NodeTask
from dray.actors.registry import NodeConfig, handler
from dray.actors.runner import runner as runner_module
from tests.unit.actors.runner.harness import PATIENCE, Harness


class DoubleConfig(NodeConfig):
    number: int


def test_plain_and_async_handlers_give_their_output_as_json_text(harness: Harness) -> None:
    @handler("plain", config=DoubleConfig)
    def plain(config: DoubleConfig, ctx: NodeContext) -> dict[str, int]:
        return {"number": 2 * config.number}

    @handler("slow", config=DoubleConfig)
    async def slow(config: DoubleConfig, ctx: NodeContext) -> str:
        await asyncio.sleep(0)
        return f"ü{config.number}"

    assert harness.run("plain", {"number": 4}).output == '{"number":8}'
    assert harness.run("slow", {"number": 4}).output == '"ü4"'


def test_config_is_rendered_from_the_texts_of_the_task(harness: Harness) -> None:
    @handler("echo")
    def echo(config: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
        return {**config, "inputs": ctx.inputs, "vars": ctx.vars}

    config = {
        "a": "{{ input.x }}",
        "b": "{{ nodes.before.output.y + 1 }}",
        "c": "{{ vars.v }} of {{ execution.id }} in {{ execution.workflow }}",
    }
    assert harness.output(
        "echo",
        config,
        input='{"x": [1]}',
        nodes=(("before", '{"y": 2}'),),
        variables=('{"variable_name": "v", "value": 1}', '{"variable_name": "v", "value": 5}'),
        inputs=(("before", '{"y": 2}'),),
        workflow="orders",
    ) == {"a": [1], "b": 3, "c": "5 of e1 in orders", "inputs": {"before": {"y": 2}}, "vars": {"v": 5}}


def test_bare_expressions_see_the_scope(harness: Harness) -> None:
    assert harness.run("condition", {"condition": "input.x > 1"}, input='{"x": 2}').branch == "true"
    assert harness.run("switch", {"switch_expression": "execution.workflow"}, workflow="w").branch == "default"


def test_the_failure_that_led_here_is_a_name_and_in_the_context(harness: Harness) -> None:
    @handler("why")
    def why(config: dict[str, Any], ctx: NodeContext) -> Any:
        return [config["text"], ctx.evaluate("error == null"), ctx.error]

    error = {"type": "timeout", "message": "too slow", "node": "call"}
    config = {"text": "{{ error.node }}: {{ error.message }}"}
    assert harness.output("why", config, error=json.dumps(error)) == ["call: too slow", False, error]
    assert harness.output("why", config) == [": ", True, None]


def test_what_no_expression_names_is_never_parsed(harness: Harness) -> None:
    assert harness.output("set_variable", {"variable_name": "v", "variable_value": 1}, input="{no json") == {
        "variable_name": "v", "value": 1, "scope": "workflow",
    }  # fmt: skip


def test_branch_and_wait_come_with_their_output(harness: Harness) -> None:
    handler("branch")(lambda config, ctx: Branch("left", [1]))
    handler("wait_a_while")(lambda config, ctx: Wait(60, "soon"))
    branch, wait = harness.run("branch"), harness.run("wait_a_while")
    assert (branch.branch, branch.output, branch.wait) == ("left", "[1]", None)
    assert (wait.branch, wait.output, wait.wait) == (None, '"soon"', 60.0)


def test_duration_is_the_handlers_own(harness: Harness) -> None:
    @handler("takes_a_while")
    def takes_a_while(config: dict[str, Any], ctx: NodeContext) -> None:
        ctx.cancel.wait(0.03)

    assert harness.run("takes_a_while").duration_ms >= 30


def test_context_says_which_attempt_of_which_node(harness: Harness) -> None:
    @handler("who")
    def who(config: dict[str, Any], ctx: NodeContext) -> list[Any]:
        return [ctx.idempotency_key, ctx.attempt, 50 < ctx.remaining() <= 60]

    assert harness.output("who", execution_id="e9", node_key="n9", attempt=3) == ["e9/n9", 3, True]


def test_handlers_log_with_their_execution_and_node(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    @handler("talks")
    def talks(config: dict[str, Any], ctx: NodeContext) -> None:
        ctx.log.warning("hello")

    with caplog.at_level(logging.INFO, "dray.node"):
        harness.run("talks", execution_id="e7", attempt=2)
    record = next(each for each in caplog.records if each.getMessage() == "hello")
    assert (record.__dict__["execution_id"], record.__dict__["node_key"], record.__dict__["attempt"]) == ("e7", "n", 2)


def test_a_config_without_templates_is_parsed_once(harness: Harness) -> None:
    parsed = []

    class Counted(NodeConfig):
        def model_post_init(self, context: Any, /) -> None:
            parsed.append(1)

    handler("counted", config=Counted)(lambda config, ctx: None)
    for _ in range(3):
        harness.run("counted", {"a": 1})
    assert len(parsed) == 1


def test_the_same_key_with_another_config_is_another_spec(harness: Harness) -> None:
    handler("echo")(lambda config, ctx: config)
    for number in (1, 2):
        spec = NodeSpec("1:same", "echo", f'{{"number": {number}}}')
        harness.runner.submit([spec], [NodeTask(number, "1:same", "e", "n", 1, 60.0)])
        assert harness.wait([number])[0].output == f'{{"number":{number}}}'


def test_only_so_many_specs_are_kept(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "PREPARED", 2)
    handler("echo")(lambda config, ctx: config)
    for _ in range(2):
        for number in range(4):
            assert harness.output("echo", {"number": number}) == {"number": number}
    assert len(harness.runner._prepared) == 2


def test_many_at_once_each_have_one_result(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(concurrency=16)

    @handler("double_async", config=DoubleConfig)
    async def double_async(config: DoubleConfig, ctx: NodeContext) -> int:
        return 2 * config.number

    handler("double", config=DoubleConfig)(lambda config, ctx: 2 * config.number)
    ids = {}
    for number in range(500):
        for node_type in ("double", "double_async"):
            [each] = harness.start(node_type, {"number": "{{ input }}"}, input=str(number))
            ids[each] = str(2 * number)
    assert {each.id: each.output for each in harness.wait(list(ids))} == ids
    assert harness.runner.unfinished == 0


def test_a_handler_that_blocks_leaves_the_other_threads_to_others(make_harness: Callable[..., Harness]) -> None:
    harness, go_on = make_harness(concurrency=3), threading.Event()
    handler("blocks")(lambda config, ctx: go_on.wait(PATIENCE))
    handler("quick")(lambda config, ctx: 1)
    blocked = harness.start("blocks", count=2)
    harness.wait(harness.start("quick", count=20))
    go_on.set()
    assert [each.output for each in harness.wait(blocked)] == ["true", "true"]


@pytest.mark.parametrize("is_async", [False, True])
def test_never_more_at_once_than_the_runner_allows(make_harness: Callable[..., Harness], is_async: bool) -> None:
    harness = make_harness(concurrency=3)
    most = _register_counted("counted", is_async, 3)
    harness.wait(harness.start("counted", count=30))
    assert max(most) == 3


@pytest.mark.parametrize("is_async", [False, True])
def test_never_more_of_a_type_than_its_handler_allows(make_harness: Callable[..., Harness], is_async: bool) -> None:
    harness = make_harness(concurrency=8)
    most = _register_counted("counted", is_async, 2, concurrency=2)
    handler("quick")(lambda config, ctx: 1)
    limited = harness.start("counted", count=10)
    harness.wait(harness.start("quick", count=20))  # those that wait at the gate hold no thread
    harness.wait(limited + harness.start("counted", count=10))
    assert max(most) == 2


def _register_counted(node_type: str, is_async: bool, least: int, concurrency: int | None = None) -> list[int]:
    """A type whose runs last until so many have run at once, and a moment, for one too many to show itself.

    The list: how many ran, each time that one began.
    """
    running: set[object] = set()
    met = threading.Event()
    most: list[int] = []

    def begin() -> object:
        token = object()
        running.add(token)
        most.append(len(running))
        if len(running) >= least:
            met.set()
        return token

    if is_async:

        @handler(node_type, concurrency=concurrency)
        async def counted_async(config: dict[str, Any], ctx: NodeContext) -> None:
            token = begin()
            while not met.is_set() and not ctx.cancelled():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            running.discard(token)

    else:

        @handler(node_type, concurrency=concurrency)
        def counted(config: dict[str, Any], ctx: NodeContext) -> None:
            token = begin()
            met.wait(PATIENCE)
            ctx.cancel.wait(0.01)
            running.discard(token)

    return most


def test_take_leaves_the_rest_when_it_is_too_much_for_one_reply(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(max_output_bytes=100_000)
    handler("large")(lambda config, ctx: "x" * 1_000)
    ids = harness.start("large", count=20)
    while harness.runner.unfinished:
        harness._arrived.wait(PATIENCE)
    sizes = []
    while harness.runner.has_results:
        taken, _ = harness.runner.take(max_bytes=5_000)
        sizes.append(len(taken))
        ids = [each for each in ids if each not in {result.id for result in taken}]
    assert sizes == [4, 4, 4, 4, 4]
    assert not ids


def test_one_result_larger_than_a_reply_is_still_given(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(max_output_bytes=100_000)
    handler("large")(lambda config, ctx: "x" * 1_000)
    harness.start("large")
    harness._arrived.wait(PATIENCE)
    assert len(harness.runner.take(max_bytes=10)[0]) == 1


# Cancelling


def test_cancelling_what_waits_answers_at_once(make_harness: Callable[..., Harness]) -> None:
    harness, go_on, ran = make_harness(concurrency=1), threading.Event(), []
    handler("blocks")(lambda config, ctx: go_on.wait(PATIENCE))
    handler("waits")(lambda config, ctx: ran.append(1))
    blocked, waiting = harness.start("blocks"), harness.start("waits")
    harness.runner.cancel(waiting)
    assert harness.wait(waiting)[0].failure is not None
    assert harness.results[waiting[0]].failure == NodeFailure("cancelled", "its execution was cancelled", False)
    go_on.set()
    harness.wait(blocked + harness.start("blocks"))
    assert not ran


def test_cancelling_at_the_gate_makes_no_room_and_takes_none(make_harness: Callable[..., Harness]) -> None:
    harness, go_on = make_harness(concurrency=8), threading.Event()
    handler("limited", concurrency=1)(lambda config, ctx: go_on.wait(PATIENCE))
    first, second, third = (harness.start("limited") for _ in range(3))
    harness.runner.cancel(second)
    assert harness.wait(second)[0].failure is not None
    go_on.set()
    assert [each.failure for each in harness.wait(first + third)] == [None, None]
    assert harness.run("limited").failure is None
    gate = harness.runner._gates["limited"]
    assert (gate.inside, len(gate.waiting)) == (0, 0)


def test_a_plain_handler_is_told_and_may_stop(harness: Harness) -> None:
    started = threading.Event()

    @handler("listens")
    def listens(config: dict[str, Any], ctx: NodeContext) -> None:
        started.set()
        ctx.cancel.wait(PATIENCE)
        assert not ctx.cancelled()

    ids = harness.start("listens")
    assert started.wait(PATIENCE)
    harness.runner.cancel(ids)
    failure = harness.wait(ids)[0].failure
    assert failure is not None and failure.type == "cancelled"
    assert harness.retiring is None


def test_an_async_handler_is_cancelled(harness: Harness) -> None:
    started = threading.Event()

    @handler("sleeps")
    async def sleeps(config: dict[str, Any], ctx: NodeContext) -> None:
        started.set()
        await asyncio.sleep(PATIENCE)

    ids = harness.start("sleeps")
    assert started.wait(PATIENCE)
    harness.runner.cancel(ids)
    failure = harness.wait(ids)[0].failure
    assert failure is not None and failure.type == "cancelled"


def test_cancelling_what_nobody_knows_does_nothing(harness: Harness) -> None:
    harness.runner.cancel([99])
    handler("quick")(lambda config, ctx: 1)
    assert harness.output("quick") == 1


def test_close_asks_everything_to_stop(harness: Harness) -> None:
    started, stopped = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

    @handler("listens")
    def listens(config: dict[str, Any], ctx: NodeContext) -> None:
        started[0].set()
        ctx.cancel.wait(PATIENCE)
        stopped[0].set()

    @handler("sleeps")
    async def sleeps(config: dict[str, Any], ctx: NodeContext) -> None:
        started[1].set()
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            await asyncio.sleep(0.01)  # it may end in order
            stopped[1].set()

    harness.start("listens")
    harness.start("sleeps")
    assert all(each.wait(PATIENCE) for each in started)
    harness.runner.close()
    assert all(each.wait(PATIENCE) for each in stopped)
