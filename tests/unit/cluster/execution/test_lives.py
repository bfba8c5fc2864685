"""The time-out of a node that waits is for its whole life, across parks and deaths of its driver."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dray.actors.messages import NodeFailure, NodeResult
from dray.cluster.execution.attempts import Policy
from dray.cluster.execution.commands import (
    Abandon,
    Begin,
    Command,
    Committed,
    Dispatch,
    News,
    NodeDone,
    Record,
    SetTimer,
    Settle,
    TimerDue,
)
from dray.cluster.execution.run import ExecutionRun
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Graph
from dray.store.records import Claimed, Kind, Outcome, Signal, StoredOutcome
from tests.unit.cluster.graphs import HANDLERS, edge, graph, node

NOW = 100.0
LIFE = 5.0
ASKS = NodeResult(0, awaits='{"signal":"go","state":[1]}', wait=60.0)
FOR_EVER = ASKS._replace(wait=None)
SLEEPS = NodeResult(0, '"done"', wait=60.0)
LOOKS = NodeResult(0, awaits='{"state":{"since":1}}', wait=2.0)
GO = Signal(9, "e1", "go", None, "1")
CONFIGS: dict[str, dict[str, Any]] = {
    "delay": {"delay_seconds": 60},
    "wait": {"delay_seconds": 60},
    "wait_for_signal": {"signal_name": "go"},
    "human_approval": {},
    "sub_workflow": {"workflow_id": "w", "wait_for_completion": True},
}


def compiled(node_type: str = "wait_for_signal", *more: Any, edges: Any = ()) -> Graph:
    waits = {**node("ask", node_type, **CONFIGS[node_type]), "timeout": LIFE}
    return load(7, "w", 1, canonical(graph([waits, *more], list(edges)), HANDLERS))


def started(found: Graph, begin: Begin | None = None, now: float = NOW) -> tuple[ExecutionRun, list[Command]]:
    run = ExecutionRun(Claimed("e1", 7, 2, 0, 0.0, "{}"), found, Policy(), jitter=lambda: 0.0)
    return run, run.handle(begin or Begin(), now)


def answers(run: ExecutionRun, result: NodeResult, now: float = NOW, attempt: int = 1) -> list[Command]:
    return run.handle(NodeDone(0, attempt, result), now)


def records(commands: list[Command]) -> list[Outcome]:
    return [each.outcome for each in commands if isinstance(each, Record)]


def wake_in(commands: list[Command]) -> float | None:
    (found,) = [each.settlement for each in commands if isinstance(each, Settle)]
    assert found.status == "waiting"
    return found.wake_in


def loaded(outcome: Outcome, ago: float) -> StoredOutcome:
    """As it is found so many seconds after it was recorded."""
    wait = None if outcome.wait is None else outcome.wait - ago
    e = outcome
    return StoredOutcome("e1", e.node_key, e.attempt, e.kind, e.branch, e.outcome, wait, age=ago)


def assert_timed_out(commands: list[Command], attempt: int = 2) -> None:
    (outcome,) = records(commands)
    assert (outcome.node_key, outcome.attempt, outcome.kind) == ("ask", attempt, Kind.FAILED)
    error = json.loads(outcome.outcome or "")
    assert (error["type"], error["node"]) == ("timeout", "ask")
    assert "timed out" in error["message"]
    assert "5 s" in error["message"]
    assert not [each for each in commands if isinstance(each, Dispatch)]


@pytest.mark.parametrize("node_type", list(CONFIGS))
@pytest.mark.parametrize("answer", [ASKS, FOR_EVER, SLEEPS])
def test_parked_it_is_woken_when_its_time_is_over_and_fails(node_type: str, answer: NodeResult) -> None:
    run, _ = started(compiled(node_type))
    commands = answers(run, answer, NOW + 1)
    (outcome,) = records(commands)
    assert (outcome.kind, outcome.wait, wake_in(commands)) == (Kind.WAITS_FOR_NEWS, 4.0, 4.0)
    for late in (0.0, 1_000.0):
        _, commands = started(compiled(node_type), Begin([loaded(outcome, 4.0 + late)]))
        assert_timed_out(commands)
        (end,) = [each.settlement for each in commands if isinstance(each, Settle)]
        assert (end.status, json.loads(end.error or "")["type"]) == ("failed", "timeout")


@pytest.mark.parametrize("answer", [ASKS, FOR_EVER, SLEEPS])
def test_held_it_fails_when_its_time_is_over(answer: NodeResult) -> None:
    run, _ = started(compiled("delay", node("other")))
    (record,) = answers(run, answer, NOW + 1)
    assert isinstance(record, Record)
    assert run.handle(Committed(record.number), NOW + 1) == [SetTimer(0, 4.0)]
    commands = run.handle(TimerDue(0), NOW + LIFE)
    assert_timed_out(commands)
    assert Abandon() in commands


def test_its_failed_edge_takes_it_after_the_commit() -> None:
    more = [node("other"), node("late"), node("more")]
    edges = [edge("ask", "late", "failed"), edge("other", "more")]
    run, _ = started(compiled("delay", *more, edges=edges))
    (first,) = answers(run, SLEEPS)
    assert isinstance(first, Record)
    run.handle(Committed(first.number), NOW)
    (failed,) = run.handle(TimerDue(0), NOW + LIFE)
    assert isinstance(failed, Record)
    assert run.handle(Committed(failed.number), NOW + LIFE) == [Dispatch(2, 1)]
    again = [loaded(first.outcome, 1_000.0), loaded(failed.outcome, 995.0)]
    assert started(compiled("delay", *more, edges=edges), Begin(again))[1] == [
        Dispatch(1, 1), Dispatch(2, 1)
    ]  # fmt: skip


def test_looking_again_and_again_does_not_begin_a_new_life() -> None:
    run, _ = started(compiled("delay"))
    first = records(answers(run, LOOKS))[0]
    assert first.wait == 2.0, "it is shorter than its life"
    run, commands = started(compiled("delay"), Begin([loaded(first, 2.0)]))
    assert commands == [Dispatch(0, 2)]
    commands = answers(run, LOOKS, attempt=2)
    second = records(commands)[0]
    run, commands = started(compiled("delay"), Begin([loaded(first, 4.0), loaded(second, 2.0)]))
    assert commands == [Dispatch(0, 3)]
    assert run.task(1, 0, 3, NOW).timeout == 1.0
    commands = answers(run, LOOKS, attempt=3)
    third = records(commands)[0]
    assert (third.wait, wake_in(commands)) == (1.0, 1.0)
    _, commands = started(compiled("delay"), Begin([loaded(first, 5.0), loaded(second, 3.0), loaded(third, 1.0)]))
    assert_timed_out(commands, attempt=4)


def test_what_ends_before_is_as_ever() -> None:
    short = SLEEPS._replace(wait=3.0)
    run, commands = started(compiled("delay"))
    assert commands == [Dispatch(0, 1)]
    (outcome,) = records(answers(run, short))
    assert (outcome.kind, outcome.wait, outcome.outcome) == (Kind.WAITS_FOR_TIME, 3.0, '"done"')
    commands = started(compiled("delay"), Begin([loaded(outcome, 10.0)]))[1]
    assert [each.settlement.status for each in commands if isinstance(each, Settle)] == ["completed"]


def test_a_signal_in_time_is_told_with_the_state_and_one_that_came_while_no_driver_lived_too() -> None:
    found = compiled("wait_for_signal", node("other"))
    run, _ = started(found)
    (record,) = answers(run, ASKS)
    assert isinstance(record, Record)
    run.handle(Committed(record.number), NOW)
    assert run.handle(News([GO]), NOW + 4.9) == [Dispatch(0, 2)]
    again, commands = started(found, Begin([loaded(record.outcome, 50.0)], [GO]))
    assert Dispatch(0, 2) in commands
    for each in (run, again):
        told = json.loads(each.task(1, 0, 2, NOW + 4.9).news or "")
        assert told == {"state": [1], "signal": {"name": "go", "payload": 1}}
    assert records(answers(again, NodeResult(0, "1"), attempt=2))[0].kind == Kind.COMPLETED


def test_trying_again_ends_with_it() -> None:
    broken = NodeResult(0, failure=NodeFailure("ValueError", "no", retryable=True, retry_after=60.0))
    run, _ = started(compiled("delay", node("other")))
    (record,) = answers(run, broken, NOW + 1)
    assert isinstance(record, Record)
    assert (record.outcome.kind, record.outcome.wait) == (Kind.RETRIED, 4.0)
    run.handle(Committed(record.number), NOW + 1)
    assert_timed_out(run.handle(TimerDue(0), NOW + LIFE))


def test_a_handler_has_what_is_left_and_one_without_a_life_what_it_says() -> None:
    run, _ = started(compiled("delay", {**node("other"), "timeout": 7}))
    assert run.task(1, 0, 1, NOW + 2).timeout == 3.0
    assert run.task(1, 1, 1, NOW + 2).timeout == 7.0


def test_nothing_is_kept_of_lives_that_are_over() -> None:
    run, _ = started(compiled("delay", node("other")))
    answers(run, NodeResult(0, "1"))
    assert not run._lives


@pytest.mark.parametrize("node_type", ["foreach", "repeat", "while"])
def test_on_a_loop_it_is_told_that_it_does_not_hold(node_type: str) -> None:
    config = {"foreach": {"items": "[1]"}, "repeat": {"repeat_count": 2}, "while": {"condition": "false"}}[node_type]
    parts = [{**node("each", node_type, **config), "timeout": 1}, node("work")]
    stored = canonical(graph(parts, [edge("each", "work", "body"), edge("work", "each")]), HANDLERS)
    text = "timeout does not end a loop: give one to the nodes of its body, or the workflow"
    assert stored["warnings"] == [f"node 'each': {text}"]
