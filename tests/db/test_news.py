"""Signals, children and the marks that wake: taken once, never lost, and nobody waits for anybody's lock."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused
from dray.store.queries import QUERIES
from dray.store.records import Child, Kind, Outcome, Taken
from tests.db.helpers import (
    GRAPH,
    QUEUES,
    Running,
    claimed,
    commit,
    commit_given,
    end,
    expire,
    outcome,
    register,
    status,
    transaction,
    until_blocked,
)
from tests.pg import Sql


def waits(execution: str, node: str = "a", awaits: str = '{"signal": "go"}', **other: Any) -> Outcome:
    return outcome(execution, node, awaits, kind=Kind.WAITS_FOR_NEWS, **other)


def a_child(parent: str, workflow: str = "w", **other: Any) -> Child:
    return Child(str(uuid.uuid4()), parent, workflow, None, '{"n": 7}')._replace(**other)


def row(sql: Sql, execution: str) -> tuple[object, ...]:
    return sql("SELECT status, wake FROM dray.execution WHERE id = %(id)s::uuid", id=execution)[0]


def marks(sql: Sql) -> list[tuple[object, ...]]:
    return sql("SELECT execution_id::text, mark FROM dray.pending_mark ORDER BY id")


def parent_and_children(
    store: DriverStore, client: Client, count: int = 1, *, park: bool = True, **other: Any
) -> tuple[str, str, list[str]]:
    """An incarnation, a parent that waits for its children, and those, which the incarnation holds."""
    incarnation, (claim,) = claimed(store, client)
    children = [a_child(claim.id, **other) for _ in range(count)]
    outcomes = [waits(claim.id, f"n{n}", f'{{"child": "{each.id}"}}') for n, each in enumerate(children)]
    store.commit(incarnation, outcomes, [end(claim.id, "waiting")] if park else [], children)
    found = store.claim(incarnation, QUEUES, count)
    assert {each.id for each in found} == {each.id for each in children}
    return incarnation, claim.id, [each.id for each in children]


# Signals


def test_a_signal_is_taken_with_the_answer_and_only_once(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [waits(claim.id)], [end(claim.id, "waiting")])
    client.signal(claim.id, "go", {"n": 1})
    ((found,), children) = store.news_of([claim.id])
    assert (found.execution_id, found.name, found.node, found.payload, children) == (
        claim.id,
        "go",
        None,
        '{"n": 1}',
        [],
    )
    (again,) = store.claim(incarnation, QUEUES, 9)
    given = ([outcome(claim.id, attempt=2)], [end(claim.id)], (), [Taken(found.id, "a")])
    assert store.commit(incarnation, *given).settled == {again.id}
    assert store.commit(incarnation, *given).settled == frozenset(), "an answer that was lost"
    assert store.news_of([claim.id]) == ([], [])
    assert sql("SELECT consumed_by, consumed_at IS NOT NULL FROM dray.signal") == [("a", True)]


def test_a_commit_that_does_not_count_takes_no_signal(store: DriverStore, client: Client, sql: Sql) -> None:
    late, (claim,) = claimed(store, client)
    client.signal(claim.id, "go")
    ((found,), _) = store.news_of([claim.id])
    with pytest.raises(DataRefused):
        store.commit(late, [outcome(claim.id, text="{")], [], (), [Taken(found.id, "a")])
    assert [each.id for each in store.news_of([claim.id])[0]] == [found.id]


def test_of_several_signals_with_one_key_the_first_counts(store: DriverStore, client: Client, sql: Sql) -> None:
    _, (first, second) = claimed(store, client, 2)
    send = "SELECT dray.signal(%(id)s::uuid, 'go', %(n)s::jsonb, dedupe => 'k')"
    assert [sql(send, id=each.id, n=str(n)) for n, each in enumerate((first, first, second))] == [[(True,)]] * 3
    assert sql("SELECT payload FROM dray.signal ORDER BY id") == [(0,), (2,)]


def test_two_signals_with_one_key_at_the_same_moment_are_one(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    _, (claim,) = claimed(store, client)
    send = "SELECT dray.signal(%s, 'go', '1', NULL, 'k')"
    with transaction(database) as first:
        first.execute(send, (claim.id,))
        second = Running(lambda: sql(send.replace("%s", "%(id)s::uuid"), id=claim.id))
        until_blocked(sql)
        commit(first)
    assert second.result() == [(True,)]
    assert sql("SELECT count(*) FROM dray.signal") == [(1,)]


@pytest.mark.parametrize("address", [None, "a", "loop[3]/a"])
def test_a_signal_that_came_before_the_wait_wakes_it(
    store: DriverStore, client: Client, sql: Sql, address: str | None
) -> None:
    (execution,) = (client.apply_workflow("w", GRAPH), client.submit("w"))[1:]
    sql("SELECT dray.signal(%(id)s::uuid, 'go', '1', %(node)s)", id=execution, node=address)
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 9)
    assert row(sql, execution) == ("running", False)
    store.commit(incarnation, [waits(execution, "loop[3]/a")], [end(execution, "waiting", 3600)])
    assert status(sql, execution) == "queued"


@pytest.mark.parametrize(
    "other", ["SELECT dray.signal(%(id)s::uuid, 'stop')", "SELECT dray.signal(%(id)s::uuid, 'go', NULL, 'b')"]
)
def test_a_signal_for_something_else_does_not(store: DriverStore, client: Client, sql: Sql, other: str) -> None:
    (execution,) = (client.apply_workflow("w", GRAPH), client.submit("w"))[1:]
    sql(other, id=execution)
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 9)
    store.commit(incarnation, [waits(execution)], [end(execution, "waiting")])
    assert status(sql, execution) == "waiting"


def test_while_other_nodes_run_an_early_signal_is_told_to_the_driver(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    (execution,) = (client.apply_workflow("w", GRAPH), client.submit("w"))[1:]
    client.signal(execution, "go")
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 9)
    assert store.news_of_driver(incarnation) == ([], [])
    store.commit(incarnation, [waits(execution)], [])
    assert [each.name for each in store.news_of_driver(incarnation)[0]] == ["go"]


def test_news_is_read_once_but_a_park_after_it_is_queued(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    client.signal(claim.id, "go")
    assert [each.name for each in store.news_of_driver(incarnation)[0]] == ["go"]
    assert store.news_of_driver(incarnation) == ([], [])
    assert row(sql, claim.id) == ("running", None)
    client.signal(claim.id, "more")
    assert [each.name for each in store.news_of_driver(incarnation)[0]] == ["go", "more"]
    store.commit(incarnation, [waits(claim.id)], [end(claim.id, "waiting")])  # decided before it heard
    assert status(sql, claim.id) == "queued"


def test_news_whose_answer_was_lost_is_read_again(
    store: DriverStore, client: Client, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    incarnation, (claim,) = claimed(store, client)
    client.signal(claim.id, "go")
    ask = store._ask

    def lose(name: str, given: Any) -> Any:
        ask(name, given)
        raise ConnectionError

    monkeypatch.setattr(store, "_ask", lose)
    with pytest.raises(ConnectionError):
        store.news_of_driver(incarnation)
    monkeypatch.setattr(store, "_ask", ask)
    assert [each.name for each in store.news_of_driver(incarnation)[0]] == ["go"]
    assert store.news_of_driver(incarnation) == ([], [])


def test_a_row_that_somebody_holds_is_read_in_the_next_turn(store: DriverStore, client: Client, database: str) -> None:
    incarnation, claims = claimed(store, client, 2)
    client.signal(claims[0].id, "go")
    with transaction(database) as other:
        other.execute("SELECT dray.signal(%s, 'stop')", (claims[0].id,))
        assert store.news_of_driver(incarnation) == ([], [])
        commit(other)
    assert [each.name for each in store.news_of_driver(incarnation)[0]] == ["go", "stop"]


def test_of_another_incarnation_nothing_is_read(store: DriverStore, client: Client) -> None:
    _, (claim,) = claimed(store, client)
    client.signal(claim.id, "go")
    assert store.news_of_driver(register(store)) == ([], [])


# Children


def test_a_child_is_started_with_its_outcome(store: DriverStore, client: Client, sql: Sql) -> None:
    client.apply_workflow("w", GRAPH)
    parent = client.submit("w", priority=9, queue="fast")
    incarnation = register(store)
    store.claim(incarnation, ["fast"], 9)
    child = a_child(parent)
    given = ([waits(parent, awaits=f'{{"child": "{child.id}"}}')], [end(parent, "waiting")], [child])
    assert store.commit(incarnation, *given).settled == {parent}
    assert store.commit(incarnation, *given).settled == frozenset(), "an answer that was lost"
    found = client.get(child.id)
    assert (found.status, found.priority, found.queue, found.input) == ("queued", 9, "fast", {"n": 7})
    assert sql("SELECT parent_id::text, depth, detached FROM dray.execution WHERE id = %(id)s::uuid", id=child.id) == [
        (parent, 1, None)
    ]
    assert status(sql, parent) == "waiting"


@pytest.mark.parametrize("child", [{"workflow": "none"}, {"version": 9}, {"workflow": "99"}])
def test_a_child_of_an_unknown_workflow_refuses_the_commit_and_names_it(
    store: DriverStore, client: Client, sql: Sql, child: dict[str, Any]
) -> None:
    incarnation, (claim,) = claimed(store, client)
    wanted = a_child(claim.id, **child)
    with pytest.raises(DataRefused, match=f'no workflow named "{wanted.workflow}".*dray workflow apply'):
        store.commit(incarnation, [waits(claim.id)], [], [wanted])
    assert sql("SELECT count(*) FROM dray.checkpoint") == [(0,)]


def test_a_child_may_name_its_version_or_the_number_of_one(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    first = client.workflow("w").id
    client.apply_workflow("w", {**GRAPH, "edges": []})
    children = [a_child(claim.id), a_child(claim.id, version=1), a_child(claim.id, str(first))]
    store.commit(incarnation, [waits(claim.id)], [], children)
    assert [client.get(each.id).version for each in children] == [2, 1, 1]


def test_children_may_be_ten_deep(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    parent = claim.id
    for _ in range(10):
        child = a_child(parent)
        store.commit(incarnation, [waits(parent)], [end(parent, "waiting")], [child])
        ((parent,),) = [[each.id for each in store.claim(incarnation, QUEUES, 9)]]
    with pytest.raises(DataRefused, match=r'workflow "w" .* and 10 is the most'):
        store.commit(incarnation, [waits(parent)], [], [a_child(parent)])


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
def test_the_end_of_a_child_wakes_its_parent(store: DriverStore, client: Client, sql: Sql, ending: str) -> None:
    incarnation, parent, (child,) = parent_and_children(store, client)
    assert status(sql, parent) == "waiting"
    store.commit(incarnation, [outcome(child, "b", '"out"')], [end(child, ending)])
    assert row(sql, parent) == ("queued", False)
    ((found,),) = store.news_of([parent])[1:]
    assert (found.id, found.parent_id, found.status) == (child, parent, ending)
    assert found.output == ('"out"' if ending == "completed" else None)
    assert (found.error is not None) == (ending == "failed")


def test_a_running_parent_hears_of_it(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, parent, (child,) = parent_and_children(store, client, park=False)
    store.commit(incarnation, [], [end(child)])
    assert [each.id for each in store.news_of_driver(incarnation)[1]] == [child]
    assert store.news_of_driver(incarnation) == ([], [])
    store.commit(incarnation, [], [end(parent, "waiting")])  # decided before it heard
    assert status(sql, parent) == "queued"


def test_news_of_a_child_ends_with_the_answer_but_not_with_a_retry(store: DriverStore, client: Client) -> None:
    incarnation, parent, (child,) = parent_and_children(store, client)
    store.commit(incarnation, [], [end(child)])
    store.claim(incarnation, QUEUES, 9)
    for attempt, kind in ((2, Kind.RETRIED), (3, Kind.RUNNER_LOST)):
        store.commit(incarnation, [outcome(parent, "n0", attempt=attempt, kind=kind)], [])
        assert len(store.news_of([parent])[1]) == 1
    store.commit(incarnation, [outcome(parent, "n0", attempt=4)], [])
    assert store.news_of([parent]) == ([], [])


def test_nobody_hears_of_a_detached_child(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, parent, (child,) = parent_and_children(store, client, detached=True)
    store.commit(incarnation, [], [end(child)])
    assert status(sql, parent) == "waiting"
    assert marks(sql) == []


def test_a_child_and_its_parent_settle_in_one_commit(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, parent, (child,) = parent_and_children(store, client, park=False)
    store.commit(incarnation, [], [end(child), end(parent, "waiting")])
    assert status(sql, parent) == "queued"


def test_a_child_that_ends_while_its_parent_is_locked_leaves_a_mark(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    incarnation, parent, (child,) = parent_and_children(store, client)
    with transaction(database) as other:
        other.execute("SELECT 1 FROM dray.execution WHERE id = %s FOR UPDATE", (parent,))
        assert store.commit(incarnation, [], [end(child)]).settled == {child}, "it waits for nobody"
        assert marks(sql) == [(parent, "wake")]
        assert store.place_marks(9) == 0
    assert store.place_marks(9) == 1
    assert status(sql, parent) == "queued"
    assert marks(sql) == []


def test_a_parent_that_parks_at_the_same_moment_is_woken(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    incarnation, parent, (child,) = parent_and_children(store, client, park=False)
    with transaction(database) as park:
        park.execute(QUERIES["commit_if_fenced"], commit_given(incarnation, [], [end(parent, "waiting")]))
        store.commit(incarnation, [], [end(child)])  # of another driver, say
        commit(park)
    assert status(sql, parent) == "waiting"
    store.place_marks(9)
    assert status(sql, parent) == "queued"


def test_two_children_end_in_two_drivers_at_once(store: DriverStore, client: Client, sql: Sql, database: str) -> None:
    incarnation, parent, (first, second) = parent_and_children(store, client, 2)
    with transaction(database) as other:
        other.execute(QUERIES["commit_if_fenced"], commit_given(incarnation, [], [end(first)]))
        assert store.commit(incarnation, [], [end(second)]).settled == {second}
        commit(other)
    assert status(sql, parent) == "queued"
    store.claim(incarnation, QUEUES, 9)
    assert {each.id for each in store.news_of([parent])[1]} == {first, second}
    store.place_marks(9)  # that of the second
    assert row(sql, parent) == ("running", True)


def test_families_end_in_many_drivers_without_dead_lock(store: DriverStore, client: Client, sql: Sql) -> None:
    """Parents park, children of all of them end in any order, signals and cancels come: everybody is heard."""
    incarnation, parents = claimed(store, client, 8)
    children = [a_child(each.id) for each in parents for _ in range(6)]
    outcomes = [waits(each.parent_id, f"n{n}", f'{{"child": "{each.id}"}}') for n, each in enumerate(children)]
    store.commit(incarnation, outcomes, [], children)
    store.claim(incarnation, QUEUES, 99)
    ids = [each.id for each in children]
    barrier = threading.Barrier(5)

    def settle(part: list[str]) -> None:
        barrier.wait()
        left = set(part)
        while left:
            left -= store.commit(incarnation, [], [end(each) for each in sorted(left)]).settled

    def park() -> None:
        barrier.wait()
        left = {each.id for each in parents}
        while left:
            parks = [end(each, "waiting") for each in sorted(left, reverse=True)]
            left -= store.commit(incarnation, [], parks).settled

    def send() -> None:
        barrier.wait()
        for each in reversed(parents):
            client.signal(each.id, "go")
            store.place_marks(99)

    work = [lambda: settle(ids[::2]), lambda: settle(ids[1::2][::-1]), park, send, send]
    for each in [Running(call) for call in work]:
        each.result()
    while marks(sql):
        store.place_marks(99)
    assert {status(sql, each.id) for each in parents} == {"queued"}
    assert {status(sql, each) for each in ids} == {"completed"}


# What goes down


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_children_of_a_parent_that_ends_badly_are_cancelled(
    store: DriverStore, client: Client, sql: Sql, ending: str
) -> None:
    incarnation, parent, (runs, waiting) = parent_and_children(store, client, 2, park=False)
    free = a_child(parent, detached=True)
    grandchild = a_child(waiting)
    store.commit(incarnation, [waits(waiting)], [end(waiting, "waiting")], [free, grandchild])
    store.commit(incarnation, [], [end(parent, ending)])
    while store.place_marks(9):
        pass
    assert [status(sql, each) for each in (runs, waiting, grandchild.id, free.id)] == [
        "running", "cancelled", "cancelled", "queued",
    ]  # fmt: skip
    assert store.controls(incarnation) == [(runs, "cancel")]
    assert marks(sql) == []


def test_a_cancel_from_outside_goes_down_and_up(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, parent, (child,) = parent_and_children(store, client)
    below = a_child(child)
    store.commit(incarnation, [waits(child)], [end(child, "waiting")], [below])
    client.cancel(child)
    store.place_marks(9)
    assert [status(sql, each) for each in (parent, child, below.id)] == ["queued", "cancelled", "cancelled"]


def test_the_child_of_a_node_that_failed_is_cancelled(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, parent, (late, _) = parent_and_children(store, client, 2, park=False)
    store.commit(incarnation, [outcome(parent, "n0", attempt=2, kind=Kind.FAILED)], [])
    store.place_marks(9)
    assert store.controls(incarnation) == [(late, "cancel")]


def test_the_child_of_a_node_that_is_dropped_is_cancelled_and_no_news(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    incarnation, parent, (late, other) = parent_and_children(store, client, 2, park=False)
    for _ in range(2):  # the second as after a lost answer
        store.commit(incarnation, [outcome(parent, "n0", None, attempt=2, kind=Kind.DROPPED)], [])
    while store.place_marks(9):
        pass
    assert store.controls(incarnation) == [(late, "cancel")]
    store.commit(incarnation, [], [end(late, "cancelled"), end(other)])
    assert [each.id for each in store.news_of([parent])[1]] == [other]


def test_a_driver_that_dies_loses_no_news(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, parent, (child,) = parent_and_children(store, client)
    below = a_child(child)
    store.commit(incarnation, [waits(child)], [], [below])
    sql("UPDATE dray.execution SET control = 'cancel' WHERE id = %(id)s::uuid", id=child)
    expire(sql, incarnation)
    store.reap()
    assert status(sql, child) == "cancelled"
    store.place_marks(9)
    assert [status(sql, each) for each in (parent, below.id)] == ["queued", "cancelled"]


# Pause


@pytest.mark.parametrize("settled", ["waiting", "queued", "paused"])
def test_what_is_given_back_with_the_mark_is_paused(store: DriverStore, client: Client, sql: Sql, settled: str) -> None:
    incarnation, (claim,) = claimed(store, client)
    sql("UPDATE dray.execution SET control = 'pause', wake = true")
    store.commit(incarnation, [], [end(claim.id, settled, 60 if settled == "waiting" else None)])
    statement = "SELECT status, control, wake, wake_at, finished_at FROM dray.execution"
    assert sql(statement) == [("paused", None, False, None, None)]


def test_a_pause_that_was_taken_back_in_time_holds_nothing(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [], [end(claim.id, "paused")])
    assert status(sql, claim.id) == "queued"


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
def test_an_end_is_not_paused(store: DriverStore, client: Client, sql: Sql, ending: str) -> None:
    incarnation, (claim,) = claimed(store, client)
    sql("UPDATE dray.execution SET control = 'pause'")
    store.commit(incarnation, [], [end(claim.id, ending)])
    assert status(sql, claim.id) == ending


def test_a_driver_that_dies_or_stops_leaves_it_paused(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, _ = claimed(store, client)
    sql("UPDATE dray.execution SET control = 'pause'")
    store.release(incarnation)
    assert sql("SELECT status, control, owner FROM dray.execution") == [("paused", None, None)]


def test_a_signal_does_not_wake_what_is_paused(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [waits(claim.id)], [])
    sql("UPDATE dray.execution SET control = 'pause'")
    store.commit(incarnation, [], [end(claim.id, "waiting")])
    assert client.signal(claim.id, "go") is True
    assert row(sql, claim.id) == ("paused", True)
