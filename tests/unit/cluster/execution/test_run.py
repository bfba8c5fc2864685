"""ExecutionRun: events in, commands out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dray.actors.messages import NodeFailure, NodeResult
from dray.cluster.execution.attempts import Policy
from dray.cluster.execution.commands import (
    Abandon,
    Begin,
    Command,
    Committed,
    ControlChanged,
    Dispatch,
    Event,
    News,
    NodeDone,
    NodeLost,
    OutcomeRefused,
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
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node

NOW = 1000.0
OK = NodeResult(0, '{"x":1}', duration_ms=5)
BROKEN = NodeResult(0, failure=NodeFailure("ValueError", "no", retryable=True))
HOPELESS = NodeResult(0, failure=NodeFailure("config", "no", retryable=False))


def compiled(nodes: list[Any], edges: list[Any], **rest: Any) -> Graph:
    return load(7, "orders", 1, canonical(graph(nodes, edges, **rest), HANDLERS))


AB = compiled([node("a"), node("b")], chain("a", "b"))
ONE = compiled([node("a")], [])


def claimed(**changes: Any) -> Claimed:
    return Claimed("e1", 7, 1, 0, 0.0, '{"n":2}')._replace(**changes)


DEFAULTS = Policy()


def started(found: Graph = AB, policy: Policy = DEFAULTS, stored: Any = (), **claim: Any) -> tuple[ExecutionRun, Any]:
    run = ExecutionRun(claimed(**claim), found, policy, jitter=lambda: 0.0)
    return run, run.handle(Begin(stored), NOW)


def records(commands: list[Command]) -> list[tuple[str, int, str]]:
    return [(c.outcome.node_key, c.outcome.attempt, c.outcome.kind) for c in commands if isinstance(c, Record)]


def settled(commands: list[Command]) -> tuple[str, float | None, Any]:
    (found,) = [each.settlement for each in commands if isinstance(each, Settle)]
    return found.status, found.wake_in, found.error and json.loads(found.error)


def done(run: ExecutionRun, node_index: int, result: NodeResult = OK, attempt: int = 1) -> list[Command]:
    return run.handle(NodeDone(node_index, attempt, result, runner=3), NOW)


def stored(
    node_key: str, attempt: int, kind: str, outcome: str | None = "1", wait: float | None = None
) -> StoredOutcome:
    return StoredOutcome("e1", node_key, attempt, kind, None, outcome, wait)


class TestRunning:
    def test_begins_with_the_first_node(self) -> None:
        assert started()[1] == [Dispatch(0, 1)]

    def test_successors_wait_for_the_commit(self) -> None:
        run, _ = started()
        (record,) = done(run, 0)
        assert record == Record(Outcome("e1", "a", 1, Kind.COMPLETED, None, '{"x":1}', None, 3, 5), 1)
        assert run.handle(Committed(1), NOW) == [Dispatch(1, 1)]

    def test_the_last_outcome_and_the_end_are_one_commit(self) -> None:
        run, _ = started(ONE)
        commands = done(run, 0)
        assert records(commands) == [("a", 1, Kind.COMPLETED)]
        assert settled(commands) == ("completed", None, None)
        assert run.closed

    def test_a_trigger_is_done_at_once_and_its_output_is_the_input(self) -> None:
        found = compiled([node("t", "trigger"), node("a", x="{{ nodes.t.output.n }}")], chain("t", "a"))
        run, commands = started(found)
        assert commands == [Record(Outcome("e1", "t", 1, Kind.COMPLETED, None, None, None, None, None)), Dispatch(1, 1)]
        assert run.task(9, 1, 1, NOW).nodes == (("t", '{"n":2}'),)

    def test_an_execution_of_a_lone_trigger_is_over_at_once(self) -> None:
        assert settled(started(compiled([node("t", "trigger")], []))[1])[0] == "completed"

    def test_a_task_holds_what_the_node_names_and_no_more(self) -> None:
        nodes = [node("a"), node("v", "set_variable", variable_name="x", variable_value=1)]
        nodes += [node("b", p="{{ nodes.a.output.x }}", q="{{ input.n }}"), node("c"), node("m", "merge")]
        run, _ = started(compiled(nodes, [*chain("a", "v", "b", "c", "m"), edge("b", "m")]))
        for index in range(4):
            done(run, index, NodeResult(0, json.dumps(f"out {index}")))
        task = run.task(5, 2, 1, NOW)
        assert (task.id, task.spec, task.execution_id, task.node_key, task.attempt) == (5, "7:b", "e1", "b", 1)
        assert task.input == '{"n":2}'
        assert run.task(5, 4, 1, NOW).inputs == (("c", '"out 3"'), ("b", '"out 2"'))
        assert run.task(5, 3, 1, NOW)[6:11] == (None, (), (), (), "orders")

    def test_an_output_is_kept_until_its_last_reader_is_done(self) -> None:
        nodes = [node("a"), node("b", p="{{ nodes.a.output }}"), node("c", p="{{ nodes.a.output }}"), node("d")]
        run, _ = started(compiled(nodes, chain("a", "b", "c", "d")))
        for index, kept in ((0, True), (1, True), (2, False)):
            done(run, index)
            assert bool(run.scopes.root.outputs) == kept

    def test_a_closed_execution_ignores_what_still_comes(self) -> None:
        run, _ = started()
        run.handle(ControlChanged("cancel"), NOW)
        assert done(run, 0) == []


class TestFailing:
    def test_a_failure_is_retried_later_and_parks_when_nothing_else_runs(self) -> None:
        run, _ = started(ONE)
        commands = done(run, 0, BROKEN)
        assert records(commands) == [("a", 1, Kind.RETRIED)]
        assert settled(commands) == ("waiting", 1.0, None)

    def test_the_pauses_grow_and_have_a_cap(self) -> None:
        policy = Policy(retry_delay=1, retry_multiplier=2, retry_max_delay=5)
        assert [policy.delay(failures, 0.0) for failures in (1, 2, 3, 4, 400)] == [1, 2, 4, 5, 5]

    def test_a_service_may_ask_for_a_longer_pause_up_to_the_cap(self) -> None:
        policy = Policy(retry_delay=1, retry_multiplier=2, retry_max_delay=50)
        assert [policy.delay(2, 0.0, asked) for asked in (None, 1.0, 30.0, 99.0)] == [2, 2, 30, 50]
        busy = NodeResult(0, failure=NodeFailure("Busy", "no", retryable=True, retry_after=30.0))
        assert settled(done(started(ONE, policy)[0], 0, busy))[1] == 30.0

    def test_a_traceback_is_in_the_record_of_its_attempt_and_nowhere_else(self) -> None:
        broken = NodeResult(0, failure=NodeFailure("ValueError", "no", retryable=True, trace="Traceback\nno"))
        run, _ = started(ONE, Policy(max_retries=1))
        (retried,) = [each.outcome for each in done(run, 0, broken) if isinstance(each, Record)]
        again = StoredOutcome("e1", "a", 1, Kind.RETRIED, None, retried.outcome, 0.0)
        run, _ = started(ONE, Policy(max_retries=1), stored=[again])
        commands = done(run, 0, broken, attempt=2)
        (failed,) = [each.outcome for each in commands if isinstance(each, Record)]
        error = {"type": "ValueError", "message": "no", "node": "a"}
        for attempt in (retried, failed):
            assert json.loads(attempt.outcome or "") == {**error, "trace": "Traceback\nno"}
        assert settled(commands)[2] == error
        ended = StoredOutcome("e1", "a", 2, Kind.FAILED, None, failed.outcome, None)
        assert settled(started(ONE, stored=[again, ended])[1])[2] == error

    def test_a_pause_is_never_shorter_than_promised(self) -> None:
        policy = Policy(retry_delay=1, retry_multiplier=2, retry_max_delay=50)
        assert [policy.delay(2, jitter) for jitter in (0.0, 0.5, 1.0)] == [2.0, 2.5, 3.0]
        assert [policy.delay(2, jitter, 30.0) for jitter in (0.0, 1.0)] == [30.0, 45.0]

    def test_a_retry_waits_in_memory_while_something_else_runs(self) -> None:
        run, commands = started(compiled([node("a"), node("b")], []))
        assert commands == [Dispatch(0, 1), Dispatch(1, 1)]
        (record,) = done(run, 0, BROKEN)
        assert isinstance(record, Record)
        assert run.handle(Committed(1), NOW + 0.25) == [SetTimer(0, 0.75)]
        assert run.handle(TimerDue(0), NOW + 1) == [Dispatch(0, 2)]

    def test_after_the_last_retry_the_execution_fails_and_the_others_are_abandoned(self) -> None:
        run, _ = started(compiled([node("a", max_retries=1), node("b")], []), Policy(max_retries=0))
        commands = done(run, 0, BROKEN)
        assert records(commands) == [("a", 1, Kind.FAILED)]
        assert Abandon() in commands
        assert settled(commands) == ("failed", None, {"type": "ValueError", "message": "no", "node": "a"})

    def test_a_node_says_how_often_it_is_retried(self) -> None:
        run, _ = started(compiled([{**node("a"), "max_retries": 1}, node("b")], []), Policy(max_retries=0))
        assert records(done(run, 0, BROKEN)) == [("a", 1, Kind.RETRIED)]
        assert records(done(run, 0, BROKEN, attempt=2)) == [("a", 2, Kind.FAILED)]

    def test_what_cannot_work_is_not_retried(self) -> None:
        assert records(done(started()[0], 0, HOPELESS)) == [("a", 1, Kind.FAILED)]

    def test_an_error_edge_takes_over_after_the_commit(self) -> None:
        found = compiled([node("a"), node("b"), node("r")], [edge("a", "b"), edge("a", "r", "failed")])
        run, _ = started(found)
        assert len(done(run, 0, HOPELESS)) == 1
        assert run.handle(Committed(1), NOW) == [Dispatch(2, 1)]
        assert settled(done(run, 2))[0] == "completed"

    def test_the_whole_execution_has_a_time(self) -> None:
        run, commands = started(compiled([node("a")], [], timeout=60), age=20.0)
        assert commands == [SetTimer(None, 40.0), Dispatch(0, 1)]
        assert run.task(1, 0, 1, NOW).timeout == 40.0
        commands = run.handle(TimerDue(None), NOW + 40)
        assert Abandon() in commands
        assert settled(commands)[2]["type"] == "timeout"

    def test_an_outcome_that_the_database_refuses_fails_its_node_at_the_next_claim(self) -> None:
        run, _ = started(ONE)
        first = done(run, 0)[0]
        assert isinstance(first, Record)
        commands = run.handle(OutcomeRefused(first.outcome, "number too large"), NOW)
        assert records(commands) == [("a", 1, Kind.FAILED)]
        assert settled(commands)[0] == "queued"
        _, commands = started(ONE, stored=[stored("a", 1, Kind.FAILED, '{"type":"output_refused"}')], claim_count=2)
        assert settled(commands) == ("failed", None, {"type": "output_refused"})

    def test_where_its_failure_is_refused_too_the_execution_fails_with_a_text_that_fits(self) -> None:
        run, _ = started(ONE)
        first = done(run, 0)[0]
        assert isinstance(first, Record)
        again = run.handle(OutcomeRefused(first.outcome, "index row too large " * 500), NOW)[0]
        assert isinstance(again, Record)
        commands = run.handle(OutcomeRefused(again.outcome, "index row too large " * 500), NOW)
        assert records(commands) == []
        status, _, error = settled(commands)
        assert (status, error["type"], error["node"]) == ("failed", "output_refused", "a")
        assert len(error["message"]) < 1_000


class TestLosing:
    def lose(self, run: ExecutionRun, attempt: int, crash: bool = True) -> list[Command]:
        return run.handle(NodeLost(0, attempt, "exit code 137", crash), NOW)

    def test_a_lost_runner_counts_apart_from_failures_and_the_node_runs_again_alone(self) -> None:
        run, _ = started(policy=Policy(max_retries=0, crash_limit=3))
        for attempt in (1, 2, 3):
            (record,) = self.lose(run, attempt)
            assert records([record]) == [("a", attempt, Kind.RUNNER_LOST)]
            assert run.handle(Committed(attempt), NOW) == [Dispatch(0, attempt + 1, suspect=attempt > 1)]
        commands = self.lose(run, 4)
        assert records(commands) == [("a", 4, Kind.FAILED)]
        error = settled(commands)[2]
        assert error["type"] == "poison"
        assert "exit code 137" in error["message"]

    def test_a_planned_stop_counts_for_nothing(self) -> None:
        run, _ = started()
        assert self.lose(run, 1, crash=False) == [Dispatch(0, 1)]

    def test_an_execution_whose_drivers_die_again_and_again_is_poison(self) -> None:
        assert started(crash_count=3)[1] == [Dispatch(0, 1)]
        assert settled(started(crash_count=4)[1])[2]["type"] == "poison"


class TestWaiting:
    WAIT = NodeResult(0, '"later"', wait=60.0)

    def test_a_wait_parks_until_it_is_over(self) -> None:
        run, _ = started()
        commands = done(run, 0, self.WAIT)
        assert records(commands) == [("a", 1, Kind.WAITS_FOR_TIME)]
        assert settled(commands) == ("waiting", 60.0, None)

    def test_a_wait_does_not_park_what_runs_beside_it(self) -> None:
        run, _ = started(compiled([node(each) for each in "abcd"], [edge("a", "c"), edge("b", "d")]))
        (record,) = done(run, 0, self.WAIT)
        assert run.handle(Committed(record.number), NOW + 1) == [SetTimer(0, 59.0)]
        assert run.handle(TimerDue(0), NOW + 60) == [Dispatch(2, 1)]
        assert records(done(run, 1)) == [("b", 1, Kind.COMPLETED)]
        done(run, 3)
        assert settled(done(run, 2))[0] == "completed"

    def test_it_parks_once_the_other_is_done(self) -> None:
        run, _ = started(compiled([node("a"), node("b")], []))
        done(run, 0, self.WAIT)
        assert settled(run.handle(NodeDone(1, 1, OK), NOW + 10)) == ("waiting", 50.0, None)

    def test_a_parked_execution_wakes_for_its_time_out_at_the_latest(self) -> None:
        run, _ = started(compiled([node("a")], [], timeout=30))
        assert settled(done(run, 0, self.WAIT)) == ("waiting", 30.0, None)

    def test_one_that_woke_for_its_time_out_fails_and_does_not_park_again(self) -> None:
        found = compiled([node("a")], [], timeout=30)
        _, commands = started(found, stored=[stored("a", 1, Kind.WAITS_FOR_TIME, wait=3600.0)], claim_count=2, age=30.0)
        assert settled(commands)[0] == "failed"
        assert settled(commands)[2]["type"] == "timeout"


class TestResuming:
    def test_goes_on_behind_what_is_stored(self) -> None:
        assert started(stored=[stored("a", 1, Kind.COMPLETED)])[1] == [Dispatch(1, 1)]

    def test_a_whole_set_of_outcomes_is_the_end(self) -> None:
        assert (
            settled(started(stored=[stored("b", 1, Kind.COMPLETED), stored("a", 1, Kind.COMPLETED)])[1])[0]
            == "completed"
        )

    def test_a_wait_that_is_over_is_done_and_one_that_is_not_parks_again(self) -> None:
        assert started(stored=[stored("a", 1, Kind.WAITS_FOR_TIME, wait=-1.0)])[1] == [Dispatch(1, 1)]
        assert settled(started(stored=[stored("a", 1, Kind.WAITS_FOR_TIME, wait=9.0)])[1]) == ("waiting", 9.0, None)

    def test_retries_and_losses_are_counted_on(self) -> None:
        before = [
            stored("a", 1, Kind.RETRIED, wait=-5.0),
            stored("a", 2, Kind.RUNNER_LOST),
            stored("a", 3, Kind.RETRIED, wait=-1.0),
        ]
        run, commands = started(policy=Policy(max_retries=2), stored=before)
        assert commands == [Dispatch(0, 4)]
        assert records(done(run, 0, BROKEN, attempt=4)) == [("a", 4, Kind.FAILED)]

    def test_a_retry_that_is_not_due_parks(self) -> None:
        assert settled(started(stored=[stored("a", 1, Kind.RETRIED, wait=4.0)])[1]) == ("waiting", 4.0, None)

    def test_a_failure_that_was_caught_goes_on_over_its_error_edge(self) -> None:
        found = compiled([node("a"), node("r")], [edge("a", "r", "failed")])
        assert started(found, stored=[stored("a", 1, Kind.FAILED)])[1] == [Dispatch(1, 1)]

    def test_the_input_is_the_output_of_a_stored_trigger(self) -> None:
        found = compiled([node("t", "trigger"), node("a", x="{{ nodes.t.output.n }}")], chain("t", "a"))
        run, commands = started(found, stored=[stored("t", 1, Kind.COMPLETED, None)])
        assert commands == [Dispatch(1, 1)]
        assert run.task(1, 1, 1, NOW).nodes == (("t", '{"n":2}'),)


class TestAtMostOnce:
    GRAPH = compiled([{**node("a"), "at_most_once": True}], [])

    def test_writes_its_start_first(self) -> None:
        run, commands = started(self.GRAPH)
        assert records(commands) == [("a", 0, Kind.STARTED)]
        assert run.handle(Committed(1), NOW) == [Dispatch(0, 1)]
        assert settled(done(run, 0))[0] == "completed"

    @pytest.mark.parametrize("crash", [True, False])
    def test_fails_when_its_runner_is_lost(self, crash: bool) -> None:
        run, _ = started(self.GRAPH)
        run.handle(Committed(1), NOW)
        commands = run.handle(NodeLost(0, 1, "gone", crash), NOW)
        assert settled(commands)[2]["type"] == "runner_lost"

    def test_fails_when_its_driver_was_lost(self) -> None:
        _, commands = started(self.GRAPH, stored=[stored("a", 0, Kind.STARTED, None)])
        assert records(commands) == [("a", 1, Kind.FAILED)]
        assert settled(commands)[2]["type"] == "runner_lost"

    def test_what_takes_over_when_its_driver_was_lost_waits_for_the_commit(self) -> None:
        found = compiled([{**node("a"), "at_most_once": True}, node("b")], [edge("a", "b", "failed")])
        run, commands = started(found, stored=[stored("a", 0, Kind.STARTED, None)])
        assert commands == [Record(commands[0].outcome, 1)]
        assert run.handle(Committed(1), NOW) == [Dispatch(1, 1)]

    def test_one_that_waits_is_not_in_doubt(self) -> None:
        _, commands = started(
            self.GRAPH, stored=[stored("a", 0, Kind.STARTED, None), stored("a", 1, Kind.WAITS_FOR_TIME, wait=9.0)]
        )
        assert records(commands) == []
        assert settled(commands) == ("waiting", 9.0, None)

    WAITS = NodeResult(0, awaits='{"signal":"go"}')

    def test_one_that_waits_for_news_is_woken_and_writes_its_start_again(self) -> None:
        before = [stored("a", 0, Kind.STARTED, None), stored("a", 1, Kind.WAITS_FOR_NEWS, '{"signal":"go"}')]
        run = ExecutionRun(claimed(claim_count=2), self.GRAPH, DEFAULTS)
        commands = run.handle(Begin(before, [Signal(9, "e1", "go", None, "1")]), NOW)
        assert records(commands) == [("a", 2, Kind.STARTED)]
        assert run.handle(Committed(1), NOW) == [Dispatch(0, 3)]
        commands = done(run, 0, attempt=3)
        assert records(commands) == [("a", 3, Kind.COMPLETED)]
        assert settled(commands)[0] == "completed"

    def test_one_that_was_lost_after_it_was_woken_fails_under_a_number_of_its_own(self) -> None:
        before = [stored("a", 0, Kind.STARTED, None), stored("a", 1, Kind.WAITS_FOR_NEWS, '{"signal":"go"}')]
        _, commands = started(self.GRAPH, stored=[*before, stored("a", 2, Kind.STARTED, None)])
        assert records(commands) == [("a", 3, Kind.FAILED)]
        assert settled(commands)[2]["type"] == "runner_lost"

    def test_one_that_is_called_again_without_being_parked_writes_each_start(self) -> None:
        run, _ = started(compiled([{**node("a"), "at_most_once": True}, node("b")], []))
        run.handle(Committed(1), NOW)
        assert records(done(run, 0, self.WAITS)) == [("a", 1, Kind.WAITS_FOR_NEWS)]
        run.handle(Committed(2), NOW)
        assert records(run.handle(News([Signal(9, "e1", "go", None, "1")]), NOW)) == [("a", 2, Kind.STARTED)]
        assert run.handle(Committed(3), NOW) == [Dispatch(0, 3)]

    def test_one_whose_start_is_on_its_way_to_the_database_runs_though_a_pause_is_asked_for(self) -> None:
        run, _ = started(self.GRAPH)
        run.handle(ControlChanged("pause"), NOW)
        assert run.handle(Committed(1), NOW) == [Dispatch(0, 1)], "paused now, it would be in doubt when it is resumed"

    def test_a_failure_is_not_retried(self) -> None:
        run, _ = started(self.GRAPH)
        run.handle(Committed(1), NOW)
        assert records(done(run, 0, BROKEN)) == [("a", 1, Kind.FAILED)]


def events(run: ExecutionRun) -> Iterator[Event]:
    yield Begin(())
    yield NodeDone(0, 1, OK)
    yield Committed(1)
    yield TimerDue(None)
    yield TimerDue(0)
    yield NodeLost(0, 1, "x", True)
    yield ControlChanged("cancel")


def test_no_event_but_a_refusal_reopens_a_closed_execution() -> None:
    run, _ = started(ONE)
    done(run, 0)
    assert all(run.handle(event, NOW) == [] for event in events(run))
