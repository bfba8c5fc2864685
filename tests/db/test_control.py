"""Pause and resume, in every status and against everything else that writes the row; many by a filter; labels."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused, ExecutionNotFound
from dray.store.records import Kind
from tests.chaos.effects import EFFECTS
from tests.db.helpers import GRAPH, QUEUES, claimed, end, expire, outcome, register, status, submitted, transaction
from tests.db.test_driver import HANDLERS, driving, effect, until
from tests.pg import Sql


@pytest.fixture(autouse=True)
def _effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EFFECTS, str(tmp_path / "effects.jsonl"))


def row(sql: Sql, execution: str) -> tuple[object, ...]:
    statement = "SELECT status, control, wake, wake_at IS NULL FROM dray.execution WHERE id = %(id)s::uuid"
    return sql(statement, id=execution)[0]


def test_what_nobody_holds_is_paused_at_once_and_goes_on(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (parked,) = claimed(store, client)
    store.commit(incarnation, [], [end(parked.id, "waiting", 3600)])
    (queued,) = submitted(client)
    later = client.submit("w", run_at=datetime.now(UTC) + timedelta(hours=1))
    for execution in (parked.id, queued, later):
        assert [client.pause(execution), client.pause(execution)] == ["paused", "paused"]
    assert store.claim(incarnation, QUEUES, 9) == []
    sql("UPDATE dray.execution SET wake_at = wake_at - interval '2 hours' WHERE id = %(id)s::uuid", id=later)
    assert store.wake_due(9)[0] == 0
    assert [client.resume(each) for each in (parked.id, queued, later)] == ["waiting", "queued", "queued"]
    assert row(sql, parked.id) == ("waiting", None, False, False)
    assert row(sql, later) == ("queued", None, False, True)
    assert {each.id for each in store.claim(incarnation, QUEUES, 9)} == {queued, later}


def test_what_runs_is_marked_and_its_driver_pauses_it(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim, _) = claimed(store, client, 2)
    assert [client.pause(claim.id), client.pause(claim.id)] == ["pausing", "pausing"]
    assert store.controls(incarnation) == [(claim.id, "pause")]
    assert store.commit(incarnation, [outcome(claim.id)], [end(claim.id, "paused")]).settled == {claim.id}
    assert row(sql, claim.id) == ("paused", None, False, True)
    assert client.resume(claim.id) == "queued"


def test_a_mark_that_is_taken_back(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    client.pause(claim.id)
    assert client.resume(claim.id) == "running"
    assert store.controls(incarnation) == []
    assert store.commit(incarnation, [], [end(claim.id, "paused")]).settled == {claim.id}  # it was decided before
    assert row(sql, claim.id) == ("queued", None, False, True)


@pytest.mark.parametrize(
    ("settled", "becomes"), [("completed", "completed"), ("waiting", "paused"), ("queued", "paused")]
)
def test_a_marked_one_that_settles_otherwise(
    store: DriverStore, client: Client, sql: Sql, settled: str, becomes: str
) -> None:
    incarnation, (claim,) = claimed(store, client)
    client.pause(claim.id)
    store.commit(incarnation, [], [end(claim.id, settled, 60)])
    assert row(sql, claim.id)[:2] == (becomes, None)


def test_a_marked_one_of_a_dead_driver_is_paused(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    client.pause(claim.id)
    expire(sql, incarnation)
    store.reap()
    assert row(sql, claim.id)[:2] == ("paused", None)


def test_a_cancel_wins(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim, other) = claimed(store, client, 2)
    client.pause(claim.id)
    assert client.cancel(claim.id) == "cancelling"
    assert [client.pause(claim.id), client.resume(claim.id)] == ["cancelling", "cancelling"]
    store.commit(incarnation, [], [end(claim.id, "paused"), end(other.id, "waiting")])
    assert status(sql, claim.id) == "cancelled"
    client.pause(other.id)
    assert client.cancel(other.id) == "cancelled"


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
def test_what_has_ended_stays_so(store: DriverStore, client: Client, ending: str) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [], [end(claim.id, ending)])
    assert [client.pause(claim.id), client.resume(claim.id)] == [ending, ending]


def test_what_does_not_exist_is_said(client: Client) -> None:
    for nothing in (str(uuid.uuid4()), "no-id"):
        for call in (client.pause, client.resume, client.retry, lambda each: client.rerun(each, "a")):
            with pytest.raises(ExecutionNotFound, match=nothing):
                call(nothing)


def test_a_signal_is_kept_and_found_after_resume(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(
        incarnation,
        [outcome(claim.id, kind=Kind.WAITS_FOR_NEWS, text='{"signal": "go"}')],
        [end(claim.id, "waiting", 3600)],
    )
    client.pause(claim.id)
    assert client.signal(claim.id, "go", 1)
    assert row(sql, claim.id) == ("paused", None, True, False)
    assert client.resume(claim.id) == "queued"
    assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [claim.id]
    assert [each.payload for each in store.news_of([claim.id])[0]] == ["1"]


def test_a_signal_before_the_first_start_does_not_start_it(client: Client, sql: Sql) -> None:
    submitted(client, 0)
    later = client.submit("w", run_at=datetime.now(UTC) + timedelta(hours=1))
    client.pause(later)
    client.signal(later, "go")
    assert client.resume(later) == "waiting"
    assert row(sql, later) == ("waiting", None, False, False)


def test_a_driver_finishes_what_runs_and_starts_nothing_more(store: DriverStore, client: Client) -> None:
    edges = [{"from": "a", "to": "b"}]
    client.apply_workflow("w", canonical({"nodes": [effect("a", 1.5), effect("b", 0.0)], "edges": edges}, HANDLERS))
    execution = client.submit("w")
    with driving(store):
        until(lambda: client.get(execution).status == "running")
        assert client.pause(execution) == "pausing"
        until(lambda: client.get(execution).status == "paused")
        assert [each.node_key for each in client.attempts(execution)] == ["a"]
        client.resume(execution)
        assert client.wait(execution, 20).status == "completed"
    assert [each.node_key for each in client.attempts(execution)] == ["a", "b"]


@pytest.mark.parametrize("running", [False, True])
def test_a_cancel_reaches_the_children(store: DriverStore, client: Client, sql: Sql, running: bool) -> None:
    incarnation, (claim,) = claimed(store, client)
    children = submitted(client, 3)
    sql("UPDATE dray.execution SET parent_id = %(id)s::uuid WHERE status = 'queued'", id=claim.id)
    sql("UPDATE dray.execution SET detached = true WHERE id = %(id)s::uuid", id=children[2])
    if not running:
        store.commit(incarnation, [], [end(claim.id, "waiting")])
    assert client.cancel(claim.id) == ("cancelling" if running else "cancelled")
    store.place_marks(9)
    assert [status(sql, each) for each in children] == ["cancelled", "cancelled", "queued"]


def test_a_cancel_of_a_child_wakes_its_parent(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    (child,) = submitted(client)
    sql("UPDATE dray.execution SET parent_id = %(p)s::uuid WHERE id = %(id)s::uuid", p=claim.id, id=child)
    store.commit(incarnation, [], [end(claim.id, "waiting")])
    client.cancel(child)
    store.place_marks(9)
    assert status(sql, claim.id) == "queued"


# Many


def test_bulk_does_to_what_the_filter_takes(store: DriverStore, client: Client, sql: Sql) -> None:
    fast = submitted(client, 7, queue="fast", labels={"customer": "17", "kind": "a"})
    other = submitted(client, 3, labels={"customer": "18"})
    taken = {"queue": "fast", "workflow": "w", "labels": {"customer": "17"}, "status": ["queued", "waiting"]}
    assert client.bulk("pause", dry_run=True, **taken) == client.bulk("pause", dry_run=True, queue="fast")
    assert client.bulk("pause", dry_run=True, **taken).matched == 7
    assert {status(sql, each) for each in fast} == {"queued"}
    found = client.bulk("pause", **taken)
    assert (found.matched, found.done) == (7, 7)
    assert {status(sql, each) for each in fast} == {"paused"}
    assert client.bulk("pause", **taken).matched == 0
    assert client.bulk("resume").done == 7
    assert client.bulk("cancel", labels={"customer": "17"}).done == 7
    assert client.bulk("cancel", labels={"customer": "19"}).matched == 0
    assert client.bulk("cancel", workflow="none").matched == 0
    assert {status(sql, each) for each in other} == {"queued"}


def test_bulk_goes_batch_by_batch_in_the_order_of_ids(client: Client, sql: Sql) -> None:
    ids = submitted(client, 5)
    ((done, last),) = sql("SELECT done, last::text FROM dray.bulk('cancel', '{}', 2)")
    assert (done, last) == (2, ids[1])
    ((done, last),) = sql("SELECT done, last::text FROM dray.bulk('cancel', '{}', 2, %(id)s::uuid)", id=ids[2])
    assert (done, last) == (2, ids[4])
    assert [status(sql, each) for each in ids] == ["cancelled", "cancelled", "queued", "cancelled", "cancelled"]


def test_bulk_waits_for_nobody(client: Client, sql: Sql, database: str) -> None:
    ids = submitted(client, 3)
    with transaction(database) as other:
        other.execute("SELECT 1 FROM dray.execution WHERE id = %s FOR UPDATE", (ids[1],))
        found = client.bulk("cancel")
    assert (found.matched, found.done) == (3, 2)
    assert status(sql, ids[1]) == "queued"


def test_bulk_takes_a_range_of_time(client: Client, sql: Sql) -> None:
    (old,) = submitted(client)
    sql("SELECT pg_sleep(0.01)")
    ((now,),) = sql("SELECT clock_timestamp()")
    (new,) = submitted(client)
    assert [each.id for each in client.list(since=now)] == [new]
    assert [each.id for each in client.list(until=now)] == [old]
    assert client.bulk("cancel", before=now).done == 1
    assert [status(sql, each) for each in (old, new)] == ["cancelled", "queued"]
    assert client.bulk("cancel", after=now).done == 1


def test_bulk_retries_each_once(store: DriverStore, client: Client) -> None:
    incarnation, claims = claimed(store, client, 3)
    store.commit(incarnation, [], [end(each.id, "failed") for each in claims])
    assert client.bulk("retry").done == 3
    assert client.bulk("retry").matched == 0
    again = client.list(status="queued")
    assert {each.source_id for each in again} == {each.id for each in claims}


def test_bulk_refuses_what_it_does_not_know(client: Client, sql: Sql) -> None:
    with pytest.raises(DataRefused, match="delete"):
        client.bulk("delete")
    with pytest.raises(DataRefused, match="color"):
        sql("SELECT dray.bulk('cancel', '{\"color\": 1}')")


def test_a_list_by_several_statuses_labels_and_queue(store: DriverStore, client: Client) -> None:
    (labelled,) = submitted(client, labels={"customer": "17", "kind": "a"}, queue="fast")
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [], [end(claim.id, "failed")])
    assert {each.id for each in client.list(status=["failed", "queued"])} == {labelled, claim.id}
    assert [each.id for each in client.list(status="failed")] == [claim.id]
    assert [each.id for each in client.list(labels={"customer": "17"})] == [labelled]
    assert [each.id for each in client.list(queue="fast")] == [labelled]
    assert client.list(labels={"customer": "17"}, queue="default") == []
    assert register(store)


def test_what_is_paused_gives_its_place_to_others(store: DriverStore, client: Client) -> None:
    client.apply_workflow("w", {**GRAPH, "limits": {"concurrency": 1}})
    first, second = client.submit("w"), client.submit("w", tenant="acme")
    incarnation = register(store)

    def claim() -> list[str]:
        return [each.id for each in store.claim(incarnation, QUEUES, 9)]

    assert claim() == [first]
    client.pause(first)
    store.commit(incarnation, [], [end(first, "paused")])
    assert claim() == [second]
    assert client.resume(first) == "queued"
    assert claim() == []
    store.commit(incarnation, [], [end(second)])
    assert claim() == [first]
    assert client.submit("w")
    assert claim() == []
