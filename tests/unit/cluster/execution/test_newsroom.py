"""Nodes that wait for signals, children or a time, and are called again with what came."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from dray.actors.messages import ChildStart, NodeFailure, NodeResult, NodeTask
from dray.cluster.execution.attempts import Policy
from dray.cluster.execution.commands import (
    Abandon,
    Begin,
    Command,
    Committed,
    ControlChanged,
    Dispatch,
    News,
    NodeDone,
    Record,
    SetTimer,
    Settle,
    TimerDue,
)
from dray.cluster.execution.run import ExecutionRun
from dray.cluster.graph.types import Graph
from dray.store.records import Child, ChildEnd, Claimed, Kind, Signal, StoredOutcome
from tests.unit.cluster.execution.simulation import Simulation, stored
from tests.unit.cluster.graphs import node

NOW = 100.0
ASK = NodeResult(0, awaits='{"signal":"go","state":{"asked":1}}', wait=60.0)
GO = Signal(9, "e1", "go", None, '{"decision":"yes"}')
ONE = stored([node("ask"), node("after")], ["ask after"])
TWO = stored([node("ask"), node("other")], [])


def started(graph: Graph = ONE, begin: Begin | None = None, policy: Policy | None = None) -> tuple[ExecutionRun, Any]:
    run = ExecutionRun(Claimed("e1", 7, 2, 0, 0.0, "{}"), graph, policy or Policy(), jitter=lambda: 0.0)
    return run, run.handle(begin or Begin(), NOW)


def done(run: ExecutionRun, index: int, result: NodeResult, attempt: int = 1) -> list[Command]:
    return run.handle(NodeDone(index, attempt, result), NOW)


def asked(wait: float = 60.0) -> StoredOutcome:
    return StoredOutcome("e1", "ask", 1, Kind.WAITS_FOR_NEWS, None, ASK.awaits, wait)


def news(run: ExecutionRun, attempt: int = 2) -> Any:
    return json.loads(run.task(1, 0, attempt, NOW).news or "null")


def settled(commands: list[Command]) -> tuple[str, float | None]:
    (found,) = [each.settlement for each in commands if isinstance(each, Settle)]
    return found.status, found.wake_in


class TestSignals:
    def test_a_node_that_waits_parks_until_its_time_is_over(self) -> None:
        run, _ = started()
        record, settle = done(run, 0, ASK)
        assert isinstance(record, Record)
        assert record.outcome[1:7] == ("ask", 1, Kind.WAITS_FOR_NEWS, None, ASK.awaits, 60.0)
        assert settled([settle]) == ("waiting", 60.0)

    def test_or_for_ever(self) -> None:
        run, _ = started()
        assert settled(done(run, 0, ASK._replace(wait=None))) == ("waiting", None)

    def test_claimed_again_it_is_called_with_the_signal_and_its_state(self) -> None:
        run, commands = started(begin=Begin([asked()], [GO]))
        assert commands == [Dispatch(0, 2)]
        assert news(run) == {"state": {"asked": 1}, "signal": {"name": "go", "payload": {"decision": "yes"}}}

    def test_its_answer_takes_the_signal_in_the_same_commit(self) -> None:
        run, _ = started(begin=Begin([asked()], [GO]))
        (record,) = done(run, 0, NodeResult(0, '"yes"'), 2)
        assert isinstance(record, Record)
        assert (record.outcome.kind, record.outcome.attempt, record.signal) == (Kind.COMPLETED, 2, 9)

    def test_a_failure_that_is_tried_again_has_the_same_news(self) -> None:
        run, _ = started(TWO, Begin([asked()], [GO]))
        (record,) = done(run, 0, NodeResult(0, failure=NodeFailure("Boom", "no", retryable=True)), 2)
        assert isinstance(record, Record)
        assert (record.outcome.kind, record.signal) == (Kind.RETRIED, None)
        run.handle(Committed(1), NOW)
        assert run.handle(TimerDue(0), NOW + 5) == [Dispatch(0, 3)]
        assert news(run, 3)["signal"]["name"] == "go"

    def test_the_delay_before_a_retry_is_kept_whatever_comes(self) -> None:
        """A node that has heard its signal fails: another signal, a new claim and the end of a child change nothing."""
        run, _ = started(TWO, Begin([asked()], [GO]))
        done(run, 0, NodeResult(0, failure=NodeFailure("Busy", "no", retryable=True, retry_after=300.0)), 2)
        assert run.handle(Committed(1), NOW) == [SetTimer(0, 300.0)]
        assert run.handle(News([GO, GO._replace(id=10, name="other")]), NOW + 1) == []
        assert run.handle(TimerDue(0), NOW + 300) == [Dispatch(0, 3)]
        retried = StoredOutcome("e1", "ask", 2, Kind.RETRIED, None, "{}", 300.0)
        for signals in ([GO], [GO, GO._replace(id=10, name="other")], []):
            run, commands = started(begin=Begin([asked(), retried], signals))
            assert settled(commands) == ("waiting", 300.0)

    def test_after_the_delay_it_is_told_what_it_was_told_before(self) -> None:
        retried = StoredOutcome("e1", "ask", 2, Kind.RETRIED, None, "{}", -1.0)
        run, commands = started(begin=Begin([asked(), retried], [GO]))
        assert commands == [Dispatch(0, 3)]
        assert news(run, 3)["signal"]["name"] == "go"

    def test_one_that_runs_since_its_time_is_over_is_told_no_more(self) -> None:
        run, _ = started(TWO, Begin([asked(wait=5.0)]))
        assert run.handle(TimerDue(0), NOW + 5) == [Dispatch(0, 2)]
        assert run.handle(News([GO]), NOW + 6) == [], "it is on its way already"
        (record,) = done(run, 0, NodeResult(0, '"late"'), 2)
        assert isinstance(record, Record)
        assert record.signal is None, "its answer takes no signal that it has not seen"

    def test_a_lost_runner_leaves_the_time_of_a_wait_as_it_is(self) -> None:
        lost = StoredOutcome("e1", "ask", 2, Kind.RUNNER_LOST, None, "{}", None)
        assert settled(started(begin=Begin([asked(wait=9.0), lost]))[1]) == ("waiting", 9.0)

    def test_a_signal_of_another_name_or_for_another_node_is_left(self) -> None:
        others = [GO._replace(name="stop"), GO._replace(id=10, node="other")]
        _, commands = started(begin=Begin([asked()], others))
        assert settled(commands) == ("waiting", 60.0)

    def test_two_waits_take_two_signals_the_older_first(self) -> None:
        graph = stored([node("ask"), node("ask2")], [])
        waits = [asked(), asked()._replace(node_key="ask2")]
        run, commands = started(graph, Begin(waits, [GO._replace(id=11), GO]))
        assert commands == [Dispatch(0, 2), Dispatch(1, 2)]
        (first,) = done(run, 0, NodeResult(0), 2)
        last = done(run, 1, NodeResult(0), 2)[0]
        assert isinstance(first, Record)
        assert isinstance(last, Record)
        assert (first.signal, last.signal) == (9, 11)

    def test_a_signal_that_comes_while_another_node_runs(self) -> None:
        run, _ = started(TWO)
        assert len(done(run, 0, ASK)) == 1
        assert run.handle(Committed(1), NOW) == [SetTimer(0, 60.0)]
        assert run.handle(News([GO]), NOW) == [Dispatch(0, 2)]
        assert run.handle(News([GO]), NOW) == [], "the same signal again"
        assert run.handle(TimerDue(0), NOW + 60) == [], "the time-out is off"
        done(run, 0, ASK, 2)
        assert run.handle(News([GO]), NOW) == [], "it was taken"

    def test_a_signal_that_came_before_the_node_waited(self) -> None:
        run, _ = started(TWO)
        run.handle(News([GO]), NOW)
        assert len(done(run, 0, ASK)) == 1
        assert run.handle(Committed(1), NOW) == [Dispatch(0, 2)]

    def test_what_waited_and_was_answered_waits_no_more(self) -> None:
        done_already = StoredOutcome("e1", "ask", 2, Kind.COMPLETED, None, '"yes"', None)
        _, commands = started(begin=Begin([asked(), done_already], [GO]))
        assert commands == [Dispatch(1, 1)], "the signal is for whoever asks next"

    def test_a_signal_that_overtakes_the_commit_of_the_wait_calls_the_node_once(self) -> None:
        run, _ = started(TWO)
        assert len(done(run, 0, ASK)) == 1
        assert run.handle(News([GO]), NOW) == [], "its wait is not stored yet"
        assert run.handle(Committed(1), NOW) == [Dispatch(0, 2)]

    def test_a_signal_of_a_node_that_is_not_needed_any_more_goes_to_another(self) -> None:
        fork = {"fork": "F", "joins": [{"join": "J", "branches": [["a"], ["b"]]}], "wait": 1, "nodes": ["a", "b"]}
        nodes = [node(each) for each in ("F", "a", "b", "J", "other")]
        run, _ = started(stored(nodes, ["F a", "F b", "a J", "b J"], forks=[fork]))
        done(run, 0, NodeResult(0))
        run.handle(Committed(1), NOW)
        for number, index in ((2, 1), (3, 4)):
            done(run, index, ASK)
            run.handle(Committed(number), NOW)
        assert run.handle(News([GO]), NOW) == [Dispatch(1, 2)]
        commands = done(run, 2, NodeResult(0))
        assert Abandon((1,)) in commands
        assert run.handle(Committed(5), NOW) == [Dispatch(3, 1), Dispatch(4, 2)]

    def test_a_time_out_is_news_too(self) -> None:
        run, commands = started(begin=Begin([asked(wait=-1.0)]))
        assert commands == [Dispatch(0, 2)]
        assert news(run) == {"state": {"asked": 1}, "timed_out": True}

    def test_it_may_wait_again(self) -> None:
        run, _ = started(begin=Begin([asked()], [GO]))
        record, settle = done(run, 0, ASK, 2)
        assert isinstance(record, Record)
        assert (record.outcome.kind, record.signal) == (Kind.WAITS_FOR_NEWS, 9)
        assert settled([settle]) == ("waiting", 60.0)


class TestChildren:
    START = NodeResult(0, awaits='{"child":"c1"}', child=ChildStart("c1", "other", None, "{}"))

    def test_a_child_is_started_by_the_commit_of_the_answer(self) -> None:
        run, _ = started()
        record, settle = done(run, 0, self.START)
        assert isinstance(record, Record)
        assert record.child == Child("c1", "e1", "other", None, "{}")
        assert settled([settle]) == ("waiting", None)

    def test_its_end_is_news(self) -> None:
        waits = StoredOutcome("e1", "ask", 1, Kind.WAITS_FOR_NEWS, None, '{"child":"c1"}', None)
        run, _ = started(begin=Begin([waits], (), [ChildEnd("c1", "e1", "completed", '{"x":1}', None)]))
        child = {"id": "c1", "status": "completed", "output": {"x": 1}, "error": None}
        assert news(run) == {"state": None, "child": child}

    def test_a_child_that_nobody_waits_for(self) -> None:
        run, _ = started()
        (record,) = done(run, 0, self.START._replace(awaits=None, output="1"))
        assert isinstance(record, Record)
        assert (record.outcome.kind, record.child and record.child.id) == (Kind.COMPLETED, "c1")


class TestDropped:
    """Nodes that wait, and are not needed any more."""

    CHILD = NodeResult(0, awaits='{"child":"c1"}', child=ChildStart("c1", "other", None, "{}"))
    FORK: ClassVar = {"fork": "F", "joins": [{"join": "J", "branches": [["a"], ["b"]]}], "wait": 1, "nodes": ["a", "b"]}
    ANY = stored([node(each) for each in ("F", "a", "b", "J")], ["F a", "F b", "a J", "b J"], forks=[FORK])
    BREAK = stored(
        [node("L", "loop"), node("a"), node("b"), node("out", "break"), node("after")],
        [("L a", None, "body"), ("L b", None, "body"), ("a L", None, "back"), "b out", "L after"],
        regions=[{"header": "L", "kind": "for", "parent": None, "nodes": ["a", "b", "out"]}],
    )

    def answer(self, task: NodeTask) -> Any:
        if task.node_key == "L[]":
            return {"count": 2}
        return self.CHILD if task.node_key.endswith("a") else None

    @pytest.mark.parametrize(("graph", "key"), [(ANY, "a"), (BREAK, "L[0]/a")])
    def test_the_wait_ends_with_the_outcome_that_drops_the_node(self, graph: Graph, key: str) -> None:
        whole = Simulation(graph, self.answer).begin().to_the_end()
        (wait,) = [each for each in whole.records if each.kind == Kind.WAITS_FOR_NEWS]
        (drop,) = [each for each in whole.records if each.kind == Kind.DROPPED]
        assert (wait.node_key, drop[:4]) == (key, ("e1", key, 2, Kind.DROPPED))
        assert whole.settled is not None
        assert whole.settled.status == "completed"

    @pytest.mark.parametrize("graph", [ANY, BREAK])
    def test_and_once_only_wherever_a_driver_dies(self, graph: Graph) -> None:
        whole = Simulation(graph, self.answer).begin().to_the_end()
        for count in range(len(whole.records)):
            stored = whole.records[:count]
            again = Simulation(graph, self.answer).begin(stored).to_the_end()
            ends = [each[:4] for each in stored + again.records if each.kind == Kind.DROPPED]
            assert ends == [each[:4] for each in whole.records if each.kind == Kind.DROPPED], count

    def test_it_ends_too_where_a_timer_was_due_before_the_claim(self) -> None:
        stored = [
            StoredOutcome("e1", "F", 1, Kind.COMPLETED, None, "1", None),
            StoredOutcome("e1", "a", 1, Kind.WAITS_FOR_NEWS, None, self.CHILD.awaits, None),
            StoredOutcome("e1", "a", 2, Kind.RETRIED, None, "{}", 9.0),
            StoredOutcome("e1", "b", 1, Kind.WAITS_FOR_TIME, None, "1", -1.0),
        ]
        run, commands = started(self.ANY, Begin(stored))
        (record,) = [each for each in commands if isinstance(each, Record)]
        assert record.outcome[:4] == ("e1", "a", 3, Kind.DROPPED)
        assert run.handle(TimerDue(1), NOW + 9) == []

    def test_a_node_that_is_called_with_its_news_when_it_is_dropped(self) -> None:
        run, _ = started(self.ANY)
        done(run, 0, NodeResult(0))
        run.handle(Committed(1), NOW)
        done(run, 1, ASK)
        run.handle(Committed(2), NOW)
        assert run.handle(News([GO]), NOW) == [Dispatch(1, 2)]
        enough, drop, abandon = done(run, 2, NodeResult(0))
        assert isinstance(drop, Record)
        assert (drop.outcome[:4], drop.number, abandon) == (("e1", "a", 2, Kind.DROPPED), 4, Abandon((1,)))
        assert isinstance(enough, Record)
        assert done(run, 1, NodeResult(0), 2) == [], "nobody waits for its answer"

    def test_a_node_that_waits_for_nothing_leaves_nothing(self) -> None:
        run, _ = started(self.ANY)
        done(run, 0, NodeResult(0))
        run.handle(Committed(1), NOW)
        done(run, 1, NodeResult(0, "1", wait=5.0))
        run.handle(Committed(2), NOW)
        commands = done(run, 2, NodeResult(0))
        assert [each.outcome.kind for each in commands if isinstance(each, Record)] == [Kind.COMPLETED]

    def test_what_was_dropped_by_an_outcome_that_is_not_stored_begins_anew(self) -> None:
        stored = [
            StoredOutcome("e1", "F", 1, Kind.COMPLETED, None, "1", None),
            StoredOutcome("e1", "a", 1, Kind.WAITS_FOR_NEWS, None, self.CHILD.awaits, None),
            StoredOutcome("e1", "a", 2, Kind.DROPPED, None, None, None),
            StoredOutcome("e1", "b", 1, Kind.FAILED, None, "{}", None),
        ]
        assert started(self.ANY, Begin(stored))[1] == [Dispatch(1, 3)]


class TestPause:
    def test_what_runs_may_finish_and_nothing_new_begins(self) -> None:
        run, _ = started()
        assert run.handle(ControlChanged("pause"), NOW) == []
        (record,) = done(run, 0, NodeResult(0))
        assert isinstance(record, Record)
        assert settled(run.handle(Committed(record.number), NOW)) == ("paused", None)

    def test_an_execution_that_ends_meanwhile_has_ended(self) -> None:
        run, _ = started(stored([node("ask")], []))
        run.handle(ControlChanged("pause"), NOW)
        assert settled(done(run, 0, NodeResult(0)))[0] == "completed"

    def test_a_cancel_wins(self) -> None:
        run, _ = started()
        run.handle(ControlChanged("pause"), NOW)
        assert settled(run.handle(ControlChanged("cancel"), NOW))[0] == "cancelled"
