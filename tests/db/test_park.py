"""Parking and waking: no wake-up is lost, whenever it comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.queries import QUERIES
from dray.store.records import Kind
from tests.db.helpers import (
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
    submitted,
    transaction,
    until_blocked,
)
from tests.pg import Sql

SIGNAL = "SELECT dray.signal(%s, 'go', '1')"


def row(sql: Sql, execution: str) -> tuple[object, ...]:
    statement = "SELECT status, owner::text, wake, wake_at IS NULL FROM dray.execution WHERE id = %(id)s::uuid"
    return sql(statement, id=execution)[0]


def test_a_parked_execution_waits_until_its_timer_and_is_then_queued(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    incarnation, (claim,) = claimed(store, client)
    assert store.commit(incarnation, [], [end(claim.id, "waiting", 3600)]).settled == {claim.id}
    assert row(sql, claim.id) == ("waiting", None, False, False)
    assert store.claim(incarnation, QUEUES, 9) == []
    woken, following = store.wake_due(9)
    assert woken == 0
    assert following is not None and 3500 < following <= 3600
    sql("UPDATE dray.execution SET wake_at = now()")
    assert store.wake_due(9) == (1, None)
    assert row(sql, claim.id) == ("queued", None, False, True)
    assert [each.claim_count for each in store.claim(incarnation, QUEUES, 9)] == [2]


def test_a_park_without_a_time_waits_for_a_signal_only(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [], [end(claim.id, "waiting", None)])
    assert store.wake_due(9) == (0, None)
    assert client.signal(claim.id, "go", {"n": 1}) is True
    assert row(sql, claim.id) == ("queued", None, False, True)
    assert sql("SELECT execution_id::text, name, payload FROM dray.signal") == [(claim.id, "go", {"n": 1})]


def test_a_timer_that_is_due_already_is_queued_by_the_next_wake(store: DriverStore, client: Client) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [], [end(claim.id, "waiting", -5)])
    assert store.wake_due(9) == (1, None)


def test_wake_due_takes_the_earliest_and_says_when_the_next_is_due(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    incarnation, claims = claimed(store, client, 4)
    waits = [-30.0, -20.0, -10.0, 500.0]
    store.commit(incarnation, [], [end(each.id, "waiting", wait) for each, wait in zip(claims, waits, strict=True)])
    woken, following = store.wake_due(2)
    assert woken == 2
    assert following is not None and 400 < following <= 500
    assert [status(sql, each.id) for each in claims] == ["queued", "queued", "waiting", "waiting"]
    assert store.wake_due(2)[0] == 1


def test_wake_due_skips_a_row_that_somebody_holds(store: DriverStore, client: Client, database: str) -> None:
    incarnation, claims = claimed(store, client, 2)
    store.commit(incarnation, [], [end(each.id, "waiting", -5) for each in claims])
    with transaction(database) as other:
        other.execute("SELECT 1 FROM dray.execution WHERE id = %s FOR UPDATE", (claims[0].id,))
        assert store.wake_due(9)[0] == 1
    assert store.wake_due(9)[0] == 1


def test_a_signal_that_came_while_it_ran_queues_the_park_at_once(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    assert client.signal(claim.id, "go") is True
    assert row(sql, claim.id) == ("running", incarnation, True, True)
    store.commit(incarnation, [], [end(claim.id, "waiting", 3600)])
    assert row(sql, claim.id) == ("queued", None, False, True)


def test_a_park_does_not_lose_a_signal_that_commits_at_the_same_moment(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    incarnation, (claim,) = claimed(store, client)
    with transaction(database) as signal:
        signal.execute(SIGNAL, (claim.id,))
        park = [end(claim.id, "waiting", 3600)]
        assert store.commit(incarnation, [], park).settled == set(), "its row is locked"
        assert store.commit(incarnation, [], park).refused == frozenset(), "so it is to be sent again"
        commit(signal)
    assert store.commit(incarnation, [], park).settled == {claim.id}
    assert status(sql, claim.id) == "queued"


def test_a_signal_that_waits_for_a_park_wakes_it(store: DriverStore, client: Client, sql: Sql, database: str) -> None:
    incarnation, (claim,) = claimed(store, client)
    with transaction(database) as park:
        given = commit_given(incarnation, [], [end(claim.id, "waiting", 3600)])
        park.execute(QUERIES["commit_if_fenced"], given)
        sending = Running(lambda: client.signal(claim.id, "go"))
        until_blocked(sql)
        commit(park)
    assert sending.result() is True
    assert row(sql, claim.id) == ("queued", None, False, True)


def test_a_signal_of_an_earlier_run_does_not_wake_a_later_park(store: DriverStore, client: Client, sql: Sql) -> None:
    (execution,) = submitted(client)
    assert client.signal(execution, "early") is True  # queued: its driver will read it
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 9)
    store.commit(incarnation, [], [end(execution, "waiting", 3600)])
    assert status(sql, execution) == "waiting"


def test_a_signal_survives_the_death_of_the_driver(store: DriverStore, client: Client, sql: Sql) -> None:
    late, (claim,) = claimed(store, client)
    client.signal(claim.id, "go")
    expire(sql, late)
    store.reap()
    assert sql("SELECT status, name FROM dray.execution, dray.signal") == [("queued", "go")]


def test_a_signal_does_not_start_an_execution_before_its_run_at(store: DriverStore, client: Client, sql: Sql) -> None:
    submitted(client, 0)
    later = client.submit("w", run_at=datetime.now(UTC) + timedelta(hours=1))
    assert client.signal(later, "go") is True
    assert row(sql, later) == ("waiting", None, False, False)


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
def test_a_signal_to_what_has_ended_is_refused_and_not_kept(
    store: DriverStore, client: Client, sql: Sql, ending: str
) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [], [end(claim.id, ending)])
    assert client.signal(claim.id, "go") is False
    assert sql("SELECT count(*) FROM dray.signal") == [(0,)]


def test_waiting_outcomes_and_the_park_are_one_commit(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(
        incarnation,
        [outcome(claim.id, kind=Kind.WAITS_FOR_TIME, text=None, wait=3600.0)],
        [end(claim.id, "waiting", 3600)],
    )
    statement = "SELECT c.wake_at - e.wake_at FROM dray.checkpoint c JOIN dray.execution e ON e.id = c.execution_id"
    ((apart,),) = sql(statement)
    assert abs(apart) < timedelta(seconds=1)
