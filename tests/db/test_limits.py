"""Concurrency limits and rates: never more than allowed, whoever claims at once and whoever dies."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from tests.db.helpers import GRAPH, claim, drive_to_the_end, end, expire, register, status, transaction
from tests.pg import Sql

MANY = 20_000


def limit(client: Client, **limits: Any) -> None:
    client.apply_workflow("w", {**GRAPH, "limits": limits})


def test_a_workflow_runs_no_more_than_its_limit_at_once(store: DriverStore, client: Client) -> None:
    limit(client, concurrency=3)
    executions = client.submit_many("w", range(10))
    driver = register(store)
    first = claim(store, driver)
    assert first == executions[:3]
    assert claim(store, driver) == []
    store.commit(driver, [], [end(first[0]), end(first[1], "failed")])
    assert claim(store, driver) == executions[3:5]
    assert claim(store, driver) == []


def test_what_has_no_limits_goes_on_beside_it(store: DriverStore, client: Client) -> None:
    limit(client, concurrency=1)
    client.submit_many("w", range(5))
    client.apply_workflow("free", GRAPH)
    free = client.submit_many("free", range(5))
    driver = register(store)
    assert len(claim(store, driver)) == 6
    assert claim(store, driver) == []
    assert {client.get(each).status for each in free} == {"running"}


def test_each_key_has_places_of_its_own_and_the_workflow_has_a_limit_over_all(
    store: DriverStore, client: Client
) -> None:
    limit(client, concurrency=3, key=["customer", "id"], key_limit=1)
    a = client.submit_many("w", [{"customer": {"id": "a"}}] * 3)
    b = client.submit_many("w", [{"customer": {"id": 7}}] * 3)
    none = client.submit_many("w", [{"customer": {}}, {}])
    driver = register(store)
    first = claim(store, driver)
    assert sorted(first) == sorted([a[0], b[0], none[0]]), "an execution without a key has only the workflow's limit"
    store.commit(driver, [], [end(none[0])])
    assert claim(store, driver) == [none[1]]
    store.commit(driver, [], [end(b[0])])
    assert claim(store, driver) == [b[1]]
    store.commit(driver, [], [end(none[1])])
    assert claim(store, driver) == [], "a and b have both their place"


def test_a_key_that_the_caller_gives_wins_over_that_of_the_input(store: DriverStore, client: Client) -> None:
    limit(client, key=["k"], key_limit=1)
    given = [client.submit("w", {"k": "a"}, concurrency_key=each) for each in ("x", "x", "y" * 5000, "y" * 5000)]
    assert claim(store, register(store)) == [given[0], given[2]]


def test_keys_of_100_000_wait_apart_and_the_claim_takes_what_may_run(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    limit(client, key=["k"], key_limit=1)
    client.submit_many("w", [{"k": "busy"}] * MANY)
    (other,) = client.submit_many("w", [{"k": "idle"}])
    driver = register(store)
    assert len(claim(store, driver)) == 2
    assert status(sql, other) == "running"
    last = client.submit("w", {"k": "late"})
    assert claim(store, driver) == [last]


def test_a_parked_execution_gives_its_place_back_and_has_to_find_one_again(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    limit(client, concurrency=1)
    first, second = client.submit_many("w", range(2))
    driver = register(store)
    assert claim(store, driver) == [first]
    store.commit(driver, [], [end(first, "waiting", 0.0)])
    assert claim(store, driver) == [second]
    assert store.wake_due(9)[0] == 1
    assert claim(store, driver) == []
    store.commit(driver, [], [end(second)])
    assert claim(store, driver) == [first]


def test_the_places_of_a_driver_that_died_are_free_with_its_lease(store: DriverStore, client: Client, sql: Sql) -> None:
    limit(client, concurrency=2, key=["k"], key_limit=1)
    executions = client.submit_many("w", [{"k": n} for n in range(4)])
    late, driver = register(store), register(store)
    assert claim(store, late) == executions[:2]
    assert claim(store, driver) == []
    expire(sql, late)
    store.reap()
    assert claim(store, driver) == executions[:2], "they have kept their places"
    client.cancel(executions[2])
    store.commit(driver, [], [end(executions[0], "cancelled"), end(executions[1])])
    assert claim(store, driver) == [executions[3]]


def test_a_cancelled_execution_frees_the_place_that_it_was_let_to(store: DriverStore, client: Client) -> None:
    limit(client, concurrency=1)
    first, second = client.submit_many("w", range(2))
    driver = register(store)
    assert store.claim(driver, ["none"], 9) == []  # lets the first one through, and does not take it
    client.cancel(first)
    assert claim(store, driver) == [second]


def test_a_submit_that_waits_for_its_time_takes_no_place(store: DriverStore, client: Client, sql: Sql) -> None:
    limit(client, concurrency=1)
    later = client.submit("w", run_at=datetime.now(UTC) + timedelta(hours=1))
    now = client.submit("w")
    driver = register(store)
    assert claim(store, driver) == [now]
    sql("UPDATE dray.execution SET wake_at = now() WHERE id = %(id)s::uuid", id=later)
    assert store.wake_due(9)[0] == 1
    assert claim(store, driver) == []
    store.commit(driver, [], [end(now)])
    assert claim(store, driver) == [later]


def test_a_new_version_changes_the_limits_of_what_waits(store: DriverStore, client: Client) -> None:
    limit(client, concurrency=1, key=["k"], key_limit=1)
    executions = client.submit_many("w", [{"k": n % 3} for n in range(9)])
    driver = register(store)
    assert claim(store, driver) == executions[:1]
    limit(client, concurrency=2, key=["k"], key_limit=1)
    assert claim(store, driver) == executions[1:2]
    limit(client, key=["k"], key_limit=2)
    assert len(claim(store, driver)) == 4
    client.apply_workflow("w", GRAPH)
    assert len(claim(store, driver)) == 3


def test_a_row_that_somebody_keeps_locked_is_found_again(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    limit(client, concurrency=1)
    execution = client.submit("w")
    driver = register(store)
    with transaction(database) as cursor:
        cursor.execute("SELECT dray.signal(%s::uuid, 'x')", (execution,))
        assert claim(store, driver) == []
    deadline = time.monotonic() + 60
    while not (found := claim(store, driver)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == [execution]


@pytest.mark.parametrize("limits", [{"concurrency": 5}, {"key": ["k"], "key_limit": 1}])
def test_many_drivers_at_once_never_run_more_than_the_limit(
    engine: Engine, client: Client, sql: Sql, limits: dict[str, Any]
) -> None:
    limit(client, **limits)
    executions = client.submit_many("w", [{"k": n % 5} for n in range(300)])
    most = drive_to_the_end(engine, sql, executions, 7)
    assert 1 <= max(most) <= 5


def test_a_rate_lets_so_many_start_within_its_window(store: DriverStore, client: Client, sql: Sql) -> None:
    limit(client, rate={"limit": 3, "per": 3600.0})
    executions = client.submit_many("w", range(9))
    driver = register(store)
    first = claim(store, driver, 2) + claim(store, driver)
    assert first == executions[:3]
    store.commit(driver, [], [end(each) for each in first[:2]] + [end(first[2], "waiting", 0.0)])
    assert claim(store, driver) == []
    store.wake_due(9)
    assert claim(store, driver) == [first[2]], "it has started before: that counts once"
    sql("UPDATE dray.execution SET started_at = started_at - interval '2 hours' WHERE status = 'completed'")
    sql("UPDATE dray.gate_change SET at = now()")
    assert claim(store, driver) == executions[3:5]
    assert sql("SELECT count(*) FROM dray.gate_change") == [(1,)], "one note for the next look"


def test_a_rate_opens_by_itself_when_its_time_is_over(store: DriverStore, client: Client) -> None:
    limit(client, rate={"limit": 1, "per": 0.5, "key": ["k"]})
    executions = client.submit_many("w", [{"k": "a"}, {"k": "b"}, {"k": "a"}])
    driver = register(store)
    assert claim(store, driver) == executions[:2]
    deadline = time.monotonic() + 60
    while not (found := claim(store, driver)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == executions[2:]
    first, last = client.get(executions[0]).started_at, client.get(executions[2]).started_at
    assert first is not None and last is not None
    assert (last - first).total_seconds() >= 0.5


def test_what_may_start_but_has_not_counts_for_the_rate(store: DriverStore, client: Client, sql: Sql) -> None:
    limit(client, rate={"limit": 2, "per": 0.001})
    client.submit_many("w", range(9))
    driver = register(store)
    for _ in range(5):
        assert store.claim(driver, ["none"], 9) == []
        sql("UPDATE dray.gate_change SET at = now()")
    assert sql("SELECT count(*) FROM dray.execution WHERE lane IS NULL") == [(2,)]
    assert len(claim(store, driver)) == 2
