"""The committer on a real database: one bad value harms nobody else, and a lost lease ends it."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from dray.cluster.driver.committer import CommitDone, Committer, Entry, LeaseGone, Refused
from dray.cluster.execution.attempts import Policy
from dray.cluster.execution.run import ExecutionRun
from dray.cluster.graph.types import NO_GRAPH
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.records import Kind, Outcome, Settlement
from tests.pg import Sql

GRAPH = {"format": 1, "nodes": [{"id": "n"}], "edges": []}
GOOD, BAD = '{"x": 1}', '{"x": "\\u0000"}'  # jsonb refuses the second


class Bench:
    """A committer, and executions that its incarnation holds."""

    def __init__(self, store: DriverStore, client: Client, count: int) -> None:
        self.incarnation = str(uuid.uuid4())
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.committer = Committer(store, self.incarnation, self.events.put)
        client.apply_workflow("w", GRAPH)
        client.submit_many("w", [{}] * count)
        store.register(self.incarnation, 60, {"pid": 1, "host": "here"})
        claims = store.claim(self.incarnation, ["default"], count)
        self.runs = [ExecutionRun(each, NO_GRAPH, Policy()) for each in claims]

    def outcome(self, run: ExecutionRun, text: str, node: str = "n") -> Entry:
        return Entry(run, Outcome(run.id, node, 1, Kind.COMPLETED, None, text, None, None, 1))

    def end(self, run: ExecutionRun) -> Entry:
        return Entry(run, settlement=Settlement(run.id, "completed", None, None))

    def events_of(self, entries: list[Entry]) -> list[Any]:
        """What the committer says until it has said something of every execution."""
        self.committer.add(entries)
        if not self.committer.is_alive():
            self.committer.start()
        found: list[Any] = []
        left = {entry.run.id for entry in entries}
        while left:
            event = self.events.get(timeout=30)
            found.append(event)
            left -= {event.run.id} if isinstance(event, Refused) else {each.run.id for each in event.entries}
        return found


@pytest.fixture
def bench(store: DriverStore, client: Client) -> Iterator[Bench]:
    made = Bench(store, client, 9)
    yield made
    made.committer.stop()


def test_a_value_that_the_database_refuses_fails_alone(bench: Bench, client: Client, sql: Sql) -> None:
    entries: list[Entry] = []
    for index, run in enumerate(bench.runs):
        entries += [bench.outcome(run, BAD if index == 4 else GOOD), bench.end(run)]
    events = bench.events_of(entries)
    (refused,) = [each for each in events if isinstance(each, Refused)]
    assert refused.run is bench.runs[4]
    assert refused.outcome.outcome == BAD
    committed = [entry.run.id for each in events if isinstance(each, CommitDone) for entry in each.entries]
    assert len(committed) == 16, "each entry of the others is reported once"
    assert {client.get(run.id).status for run in bench.runs if run is not bench.runs[4]} == {"completed"}
    assert client.get(bench.runs[4].id).status == "running", "its end must not be stored without its outcome"


def test_nor_is_a_node_dropped_by_an_outcome_that_is_not_stored(bench: Bench, client: Client) -> None:
    run = bench.runs[0]
    drop = Entry(run, Outcome(run.id, "m", 2, Kind.DROPPED, None, None, None, None, None))
    bench.events_of([bench.outcome(run, BAD), drop])
    bench.committer.add([drop])
    back = Entry(run, settlement=Settlement(run.id, "queued", None, None), heard=1)
    bench.events_of([bench.outcome(run, GOOD), back])
    assert [each.node_key for each in client.attempts(run.id)] == ["n"]


def test_the_other_outcomes_of_the_same_execution_are_stored(bench: Bench, client: Client) -> None:
    run = bench.runs[0]
    entries = [
        bench.outcome(run, GOOD, "a"),
        bench.outcome(run, BAD, "b"),
        bench.outcome(run, GOOD, "c"),
        bench.end(run),
    ]
    bench.committer.add(entries)
    bench.committer.start()
    events = [bench.events.get(timeout=30) for _ in range(3)]
    assert [type(each) for each in events] == [CommitDone, Refused, CommitDone]
    assert [each.node_key for each in client.attempts(run.id)] == ["a", "c"]
    assert client.get(run.id).status == "running"


def test_an_end_that_was_decided_before_a_refusal_was_heard_is_not_stored(bench: Bench, client: Client) -> None:
    run = bench.runs[0]
    bench.events_of([bench.outcome(run, BAD, "a")])
    bench.committer.add([bench.outcome(run, GOOD, "b"), bench.end(run)])  # of a branch beside it
    bench.events_of([bench.outcome(bench.runs[1], GOOD), bench.end(bench.runs[1])])
    assert client.get(run.id).status == "running"
    failure = bench.outcome(run, GOOD, "a")
    bench.events_of([failure, Entry(run, settlement=Settlement(run.id, "queued", None, None), heard=1)])
    assert client.get(run.id).status == "queued"


@pytest.mark.parametrize("status", ["queued", "failed", "cancelled"])
def test_an_end_that_was_decided_after_it_is_stored_whatever_it_is(bench: Bench, client: Client, status: str) -> None:
    run = bench.runs[0]
    bench.events_of([bench.outcome(run, BAD, "a"), bench.outcome(run, BAD, "b")])
    early = Entry(run, settlement=Settlement(run.id, status, None, None), heard=1)
    bench.committer.add([early])
    bench.events_of([bench.outcome(bench.runs[1], GOOD), bench.end(bench.runs[1])])
    assert client.get(run.id).status == "running", "one of the two refusals was not heard yet"
    bench.events_of([early._replace(heard=2)])
    assert client.get(run.id).status == status


def test_an_error_text_that_the_database_refuses_is_replaced(bench: Bench, client: Client) -> None:
    run = bench.runs[0]
    bench.events_of([Entry(run, settlement=Settlement(run.id, "failed", None, BAD))])
    found = client.get(run.id)
    assert found.status == "failed"
    assert found.error is not None
    assert found.error["type"] == "error_refused"


def test_a_reaped_incarnation_hears_that_its_lease_is_gone(
    bench: Bench, store: DriverStore, client: Client, sql: Sql
) -> None:
    sql("UPDATE dray.driver SET lease_until = now() - interval '1 minute'")
    assert [each.requeued for each in store.reap()] == [9]
    run = bench.runs[0]
    bench.committer.add([bench.outcome(run, GOOD), bench.end(run)])
    bench.committer.start()
    assert isinstance(bench.events.get(timeout=30), LeaseGone)
    assert client.attempts(run.id) == []
    assert client.get(run.id).status == "queued"


def test_a_row_that_somebody_keeps_locked_holds_up_nobody_else(bench: Bench, client: Client, engine: Engine) -> None:
    locked, *others = bench.runs
    with engine.connect() as holder:
        holder.exec_driver_sql("BEGIN")
        Client(holder).signal(locked.id, "hello")  # and the transaction stays open
        bench.committer.add([entry for run in bench.runs for entry in (bench.outcome(run, GOOD), bench.end(run))])
        bench.committer.start()
        event = bench.events.get(timeout=30)
        assert {entry.run for entry in event.entries if entry.settlement} == set(others)
        assert {client.get(run.id).status for run in others} == {"completed"}
        assert not bench.committer.idle
        holder.exec_driver_sql("COMMIT")
    event = bench.events.get(timeout=30)
    assert [entry.run for entry in event.entries] == [locked]
    assert client.get(locked.id).status == "completed"
