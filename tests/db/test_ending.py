"""An incarnation that ends gives everything back, whatever somebody keeps locked, and the others' ends do not wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from dray.cluster.driver.housekeeper import Housekeeper
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import LeaseLost, StoreError
from dray.store.queries import QUERIES
from dray.store.records import Reaped
from tests.db.helpers import (
    QUEUES,
    claimed,
    commit,
    commit_given,
    end,
    expire,
    outcome,
    register,
    status,
    submitted,
    transaction,
)
from tests.db.test_driver import driving, until
from tests.pg import Sql


@contextmanager
def locked(database: str, *executions: str) -> Iterator[Any]:
    """A user's transaction that has signalled them and stays open."""
    with transaction(database) as holder:
        for each in executions:
            holder.execute("SELECT dray.signal(%s, 'anything')", (each,))
        yield holder


def counts(sql: Sql) -> dict[tuple[str, int], int]:
    """(status, crash_count) -> executions."""
    found = sql("SELECT status, crash_count, count(*)::int FROM dray.execution GROUP BY 1, 2")
    return {(name, crashes): count for name, crashes, count in found}


def drivers(sql: Sql) -> list[str]:
    return [row[0] for row in sql("SELECT id::text FROM dray.driver ORDER BY id")]


# Reaped


def test_one_locked_row_keeps_no_other_from_being_requeued(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    first, (kept, *_) = claimed(store, client, 20)
    second, _ = claimed(store, client, 20)
    expire(sql, first)
    expire(sql, second)
    with locked(database, kept.id):
        found = {each.driver: each for each in store.reap()}
        assert (found[first].requeued, found[first].has_left) == (19, True)
        assert (found[second].requeued, found[second].has_left) == (20, False)
        assert counts(sql) == {("queued", 1): 39, ("running", 0): 1}
        assert drivers(sql) == [first], "it has something left"
        assert [(each.driver, each.requeued, each.has_left) for each in store.reap()] == [(first, 0, True)]
        with pytest.raises(LeaseLost):
            store.commit(first, [outcome(kept.id)], [end(kept.id)])
        assert store.renew(first, 600) is False
    assert [(each.driver, each.requeued, each.has_left) for each in store.reap()] == [(first, 1, False)]
    assert counts(sql) == {("queued", 1): 40}
    assert drivers(sql) == []


def test_one_dead_driver_is_one_transaction(store: DriverStore, client: Client, sql: Sql, database: str) -> None:
    """A reaper that is stopped in the middle of one keeps nobody from the others."""
    first, second = sorted(claimed(store, client, 2)[0] for _ in range(2))
    expire(sql, first)
    expire(sql, second)
    with transaction(database) as reaper:
        reaper.execute(QUERIES["reap_next"], {"done": [], "most": 9})
        assert reaper.fetchone()[0] == first
        assert [each.driver for each in store.reap()] == [second]
        commit(reaper)
    assert counts(sql) == {("queued", 1): 4}


def test_more_than_one_transaction_takes_is_given_back_as_well(store: DriverStore, client: Client, sql: Sql) -> None:
    dead, _ = claimed(store, client, 8)
    live, (kept,) = claimed(store, client)
    expire(sql, dead)
    assert store.reap(3) == [Reaped(dead, "here", 1, 8, False, False)]
    assert counts(sql) == {("queued", 1): 8, ("running", 0): 1}
    assert store.release(live, 3) == (1, False)
    assert client.get(kept.id).crash_count == 0
    for count in (3, 4):
        stopped, _ = claimed(store, client, count)
        assert store.release(stopped, 3) == (count, False)
    assert drivers(sql) == []


def test_what_an_incarnation_without_a_row_holds_waits_for_no_lock_either(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    _, (kept, *_) = claimed(store, client, 5)
    _, (other,) = claimed(store, client)
    sql("DELETE FROM dray.driver")
    with locked(database, kept.id):
        assert sorted(each.requeued for each in store.reap()) == [1, 4]
        assert status(sql, other.id) == "queued"
        assert [each.requeued for each in store.reap()] == [0]
    assert [each.requeued for each in store.reap()] == [1]
    assert store.reap() == []


def test_a_reaped_incarnation_records_nothing_also_where_its_row_stays(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    late, (claim, kept) = claimed(store, client, 2)
    with transaction(database) as reaper, locked(database, kept.id):
        expire(sql, late)
        reaper.execute(QUERIES["reap_next"], {"done": [], "most": 9})
        assert reaper.fetchone()[5] is True
        commit(reaper)
        with transaction(database) as cursor:
            cursor.execute(QUERIES["commit_if_fenced"], commit_given(late, [outcome(kept.id)], []))
            assert cursor.fetchone()[0] is False
    assert status(sql, claim.id) == "queued"
    assert client.attempts(kept.id) == []


def test_a_cancel_is_kept_and_so_is_a_pause_of_what_was_locked(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    dead, (first, second) = claimed(store, client, 2)
    expire(sql, dead)
    with transaction(database) as holder:
        holder.execute("SELECT dray.cancel(%s), dray.pause(%s)", (first.id, second.id))
        assert [each.requeued for each in store.reap()] == [0]
        commit(holder)
    assert [each.requeued for each in store.reap()] == [2]
    assert (status(sql, first.id), status(sql, second.id)) == ("cancelled", "paused")


# Stopped


def test_a_planned_stop_with_a_locked_row_gives_the_others_back_and_counts_no_crash_ever(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    stopping, (kept, *_) = claimed(store, client, 10)
    with locked(database, kept.id):
        assert store.release(stopping) == (9, True)
        assert counts(sql) == {("queued", 0): 9, ("running", 0): 1}
        assert drivers(sql) == [stopping]
        assert [(each.planned, each.requeued) for each in store.reap()] == [(True, 0)]
        expire(sql, stopping)  # its process is gone
        assert [(each.planned, each.requeued) for each in store.reap()] == [(True, 0)]
    assert store.reap() == [Reaped(stopping, "here", 1, 1, True, False)]
    assert counts(sql) == {("queued", 0): 10}
    assert drivers(sql) == []
    assert store.release(stopping) is None


def test_whoever_comes_by_gives_it_back_before_the_lease_is_over(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    stopping, (kept,) = claimed(store, client)
    with locked(database, kept.id):
        assert store.release(stopping) == (0, True)
    assert [each.requeued for each in store.reap()] == [1]
    assert client.get(kept.id).crash_count == 0


def test_one_that_is_stopped_claims_nothing_and_may_record_what_it_holds_still(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    stopping, (kept,) = claimed(store, client)
    with locked(database, kept.id) as holder:
        assert store.release(stopping) == (0, True)
        submitted(client)
        with pytest.raises(LeaseLost):
            store.claim(stopping, QUEUES, 9)
        with pytest.raises(LeaseLost):
            store._claim_unheard(stopping, 9)
        commit(holder)
    assert store.commit(stopping, [outcome(kept.id)], [end(kept.id)]).settled == {kept.id}
    assert [(each.planned, each.requeued) for each in store.reap()] == [(True, 0)]


def test_a_commit_that_does_not_end_keeps_the_release_waiting_for_a_while_and_costs_no_crash(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    stopping, claims = claimed(store, client, 3)
    with transaction(database) as commit_in_flight:
        commit_in_flight.execute(QUERIES["commit_if_fenced"], commit_given(stopping, [outcome(claims[0].id)], []))
        assert store.release(stopping) == (0, True)
        commit(commit_in_flight)
    assert sum(each.requeued for each in store.reap()) == 3
    assert counts(sql) == {("queued", 0): 3}
    assert [each.node_key for each in client.attempts(claims[0].id)] == ["a"]


def test_a_driver_that_is_told_to_stop_while_a_row_is_locked_ends_and_counts_no_crash(
    store: DriverStore, client: Client, sql: Sql, engine: Engine, tmp_path: Path
) -> None:
    client.apply_workflow("w", {"format": 1, "nodes": [{"id": "a", "type": "delay", "config": {}}], "edges": []})
    with driving(store, concurrency=10, claim_batch=10, drain_timeout=0.0) as (driver, ended):
        until(lambda: len(drivers(sql)) == 1)
        (incarnation,) = drivers(sql)
        held = submitted_to(client, sql, incarnation)
        with engine.connect() as holder:
            holder.exec_driver_sql("BEGIN")
            Client(holder).signal(held[0], "anything")
            driver.drain()
            assert ended() is None
            assert counts(sql) == {("queued", 0): 9, ("running", 0): 1}
            holder.exec_driver_sql("COMMIT")
    assert sum(each.requeued for each in store.reap()) == 1
    assert counts(sql) == {("queued", 0): 10}


def submitted_to(client: Client, sql: Sql, incarnation: str) -> list[str]:
    """Ten executions, put into the hands of this incarnation without its knowing."""
    ids = client.submit_many("w", [{}] * 10, queue="of nobody")
    sql("UPDATE dray.execution SET status = 'running', owner = %(id)s::uuid, claim_count = 1", id=incarnation)
    return ids


# The housekeeper


class Failing(DriverStore):
    """Whose timers, or whatever it is told, cannot be looked at."""

    broken = "wake_due"

    def _ask(self, name: str, given: Any) -> list[Any]:
        if name == self.broken:
            raise StoreError("a row that no timer can read")
        return super()._ask(name, given)


@pytest.mark.parametrize("broken", ["wake_due", "place_marks", "controls_of_driver", "news_of_driver", "prune"])
def test_what_goes_wrong_beside_it_does_not_stop_recovery(
    engine: Engine, client: Client, sql: Sql, broken: str
) -> None:
    store = Failing(engine)
    dead, (claim,) = claimed(store, client)
    expire(sql, dead)
    store.broken = broken
    housekeeper = Housekeeper(store, register(store), 0.05, lambda _: None, lambda: None, keep=60.0)
    housekeeper.start()
    try:
        until(lambda: status(sql, claim.id) == "queued")
    finally:
        housekeeper.stop()
        housekeeper.join(30)
