"""Queues: priorities that age, pauses, limits of a queue, and tenants that take turns."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Engine

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused
from tests.db.helpers import GRAPH, claim, commit, drive_to_the_end, end, register, status, submitted, transaction
from tests.pg import Sql


@pytest.fixture(autouse=True)
def workflow(client: Client) -> None:
    client.apply_workflow("w", GRAPH)


# Priorities


@pytest.mark.parametrize(
    ("given", "found"),
    [("LOW", 1), ("low", 1), (" Normal ", 5), ("high", 10), ("CRITICAL", 20), (7, 7), ("7", 7), (-3, -3), (None, 5)],
)
def test_a_priority_is_a_name_or_a_number(client: Client, given: Any, found: int) -> None:
    assert client.get(client.submit("w", priority=given)).priority == found
    assert client.get(client.submit_many("w", [1], priority=given)[0]).priority == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"priority": "HIGH"}, 10),
        ({"priority": "low"}, 1),
        ({"priority": 20}, 20),
        ({"priority": "12"}, 12),
        ({"priority": "urgent"}, 5),
        ({"priority": 99_999}, 5),
        ({"priority": 1.5}, 5),
        ({"priority": None}, 5),
        ({"priority": {"a": 1}}, 5),
        ({}, 5),
        ([1], 5),
        ("text", 5),
    ],
)
def test_the_priority_of_the_input_holds_where_the_caller_gives_none(client: Client, given: Any, found: int) -> None:
    assert client.get(client.submit("w", given)).priority == found
    assert client.get(client.submit("w", given, priority="critical")).priority == 20
    mixed = client.submit_many("w", [given, {"priority": "critical"}])
    assert [client.get(each).priority for each in mixed] == [found, 20]


def test_sql_takes_a_priority_as_text_or_number_and_none(sql: Sql, client: Client) -> None:
    calls = {
        "'w'": 5,
        "'w', '{}', 9": 9,
        "'w', '{}', 9::smallint": 9,
        "'w', '{}', 'high'": 10,
        "'w', '{}', priority => 'low'": 1,
        "'w', '{}', priority => 9, queue => 'fast'": 9,
        "workflow => 'w', input => '{\"priority\": \"HIGH\"}'": 10,
        "'w', '{}', NULL": 5,
    }
    for call, found in calls.items():
        assert client.get(sql(f"SELECT dray.submit({call})::text")[0][0]).priority == found, call
    many = {"'w', ARRAY['{}']::jsonb[]": 5, "'w', ARRAY['{}']::jsonb[], 9": 9, "'w', ARRAY['{}']::jsonb[], 'low'": 1}
    for call, found in many.items():
        assert client.get(sql(f"SELECT dray.submit_many({call})::text")[0][0]).priority == found, call
    with pytest.raises(DataRefused, match="urgent"):
        client.submit("w", priority="urgent")


def test_a_low_priority_that_has_waited_goes_ahead(store: DriverStore, client: Client, sql: Sql) -> None:
    """A minute of waiting is worth a point: submitted 20 minutes earlier, LOW is ahead of CRITICAL."""
    low = client.submit("w", priority="low", run_at=None)
    sql("UPDATE dray.execution SET run_at = run_at - interval '20 minutes', rank = rank - interval '20 minutes'")
    critical = client.submit("w", priority="critical")
    high = client.submit("w", priority="high")
    young = client.submit("w", priority="low")
    driver = register(store)
    assert [claim(store, driver, 1) for _ in range(4)] == [[low], [critical], [high], [young]]


def test_a_queues_ageing_is_its_own(store: DriverStore, client: Client) -> None:
    client.limit_queue("default", ageing=0)
    low = client.submit("w", priority="low")
    critical = client.submit("w", priority="critical")
    driver = register(store)
    assert [claim(store, driver, 1) for _ in range(2)] == [[low], [critical]]


# Pauses and limits of a queue


def test_a_paused_queue_gives_nothing_and_the_others_go_on(store: DriverStore, client: Client) -> None:
    slow, fast = submitted(client, 2, queue="slow"), submitted(client, 2, queue="fast")
    client.pause_queue("slow")
    driver = register(store)
    assert claim(store, driver, queues=["slow", "fast"]) == fast
    assert claim(store, driver, queues=["slow", "fast"]) == []
    assert client.resume_queue("slow")
    assert not client.resume_queue("slow")
    assert not client.resume_queue("unknown")
    assert claim(store, driver, queues=["slow", "fast"]) == slow


def test_a_pause_that_is_not_committed_holds_up_no_other_queue(
    store: DriverStore, client: Client, database: str
) -> None:
    client.limit_queue("slow", concurrency=9)
    slow, fast = submitted(client, 1, queue="slow"), submitted(client, 1, queue="fast")
    driver = register(store)
    with transaction(database) as cursor:
        cursor.execute("SELECT dray.pause_queue('slow')")
        assert claim(store, driver, queues=["slow", "fast"]) == fast
        cursor.connection.rollback()
    assert claim(store, driver, queues=["slow", "fast"]) == slow


def test_a_queue_runs_no_more_than_its_limit_at_once(store: DriverStore, client: Client, sql: Sql) -> None:
    client.limit_queue("slow", concurrency=2)
    slow, fast = submitted(client, 5, queue="slow"), submitted(client, 5, queue="fast")
    first, second = register(store), register(store)
    assert sorted(claim(store, first, queues=["slow", "fast"])) == sorted(slow[:2] + fast)
    assert claim(store, second, queues=["slow", "fast"]) == []
    assert store.limited
    store.commit(first, [], [end(slow[0]), end(slow[1], "waiting", 60.0)])
    assert claim(store, second, queues=["slow", "slow"]) == slow[2:4]
    client.limit_queue("slow")
    assert claim(store, second, queues=["slow"]) == slow[4:]


def test_many_drivers_at_once_keep_the_limit_of_a_queue(engine: Engine, client: Client, sql: Sql) -> None:
    client.limit_queue("default", concurrency=4)
    executions = submitted(client, 200)
    most = drive_to_the_end(engine, sql, executions, 3)
    assert 1 <= max(most) <= 4


def test_a_queues_rate_counts_first_starts(store: DriverStore, client: Client, sql: Sql) -> None:
    client.limit_queue("default", rate=3, per=3600)
    executions = submitted(client, 3) + submitted(client, 2)
    driver = register(store)
    assert claim(store, driver, 2) + claim(store, driver) == executions[:3]
    assert claim(store, driver) == []
    store.commit(driver, [], [end(each, "queued") for each in executions[:3]])
    sql("UPDATE dray.queue_start SET at = at - interval '2 hours' WHERE count = 2")
    assert len(claim(store, driver)) == 2
    assert sql("SELECT sum(count) FROM dray.queue_start") == [(1,)], "those two had started before"


def test_what_a_person_says_of_a_queue_is_checked(client: Client) -> None:
    for given in ({"concurrency": 0}, {"rate": 1}, {"per": 1.0}, {"rate": 0, "per": 1.0}, {"ageing": -1}):
        with pytest.raises(DataRefused):
            client.limit_queue("q", **given)
    client.limit_queue("q", concurrency=2, rate=10, per=60, ageing=5)
    client.pause_queue("q")
    submitted(client, 2, queue="other")
    found = {each.name: each for each in client.queues()}
    assert (found["q"].paused, found["q"].concurrency, found["q"].rate, found["q"].per, found["q"].ageing) == (
        True,
        2,
        10,
        60.0,
        5.0,
    )
    assert (found["other"].queued, found["other"].paused, found["other"].concurrency) == (2, False, None)


# Tenants


def tenants(sql: Sql, ids: list[str]) -> dict[str | None, int]:
    return dict(sql("SELECT tenant, count(*) FROM dray.execution WHERE id = ANY (%(ids)s::uuid[]) GROUP BY 1", ids=ids))


def test_a_tenant_with_many_queued_does_not_starve_one_with_three(store: DriverStore, client: Client, sql: Sql) -> None:
    client.submit_many("w", range(1000), tenant="big")
    driver = register(store)
    assert tenants(sql, claim(store, driver, 10)) == {"big": 10}
    small = client.submit_many("w", range(3), tenant="small")
    assert tenants(sql, claim(store, driver, 4)) == {"big": 2, "small": 2}
    assert tenants(sql, claim(store, driver, 10)) == {"big": 9, "small": 1}
    assert {client.get(each).status for each in small} == {"running"}
    assert tenants(sql, claim(store, driver, 1000)) == {"big": 1000 - 10 - 2 - 9}
    assert claim(store, driver) == []
    assert sql("SELECT count(*) FROM dray.tenant") == [(0,)]


def test_tenants_take_turns_one_by_one(store: DriverStore, client: Client, sql: Sql) -> None:
    names = ["a", "b", "c"]
    for name in names:
        client.submit_many("w", range(20), tenant=name)
    plain = submitted(client, 20)
    driver = register(store)
    found = [tenants(sql, claim(store, driver, 1)) for _ in range(40)]
    counts: Counter[str | None] = sum((Counter(each) for each in found), Counter())
    assert counts == {"a": 10, "b": 10, "c": 10, None: 10}, "those without a tenant are one of them"
    assert [status(sql, each) for each in plain[:11]] == ["running"] * 10 + ["queued"]


def test_inside_a_tenant_the_order_is_the_usual_one(store: DriverStore, client: Client) -> None:
    low = client.submit("w", priority="low", tenant="a")
    high = client.submit("w", priority="high", tenant="a")
    assert claim(store, register(store), 1) == [high]
    assert claim(store, register(store), 1) == [low]


def test_a_queue_with_tenants_leaves_room_for_the_others(store: DriverStore, client: Client, sql: Sql) -> None:
    client.submit_many("w", range(500), tenant="a", queue="shared")
    plain = submitted(client, 50)
    driver = register(store)
    taken = [each for _ in range(10) for each in claim(store, driver, 10, ["shared", "default"])]
    assert len(taken) == 100
    assert set(plain) <= set(taken)
    assert len(claim(store, driver, 100, ["shared", "default"])) == 100


def test_the_tenant_may_come_from_the_input_and_its_executions_keep_limits(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    client.apply_workflow("w", {**GRAPH, "limits": {"tenant": ["org"], "concurrency": 4}})
    client.submit_many("w", [{"org": "big"}] * 50)
    driver = register(store)
    first = claim(store, driver)
    assert tenants(sql, first) == {"big": 4}
    client.submit_many("w", [{"org": "small"}, {"org": "small"}], tenant=None)
    assert claim(store, driver) == []
    store.commit(driver, [], [end(each) for each in first])
    assert len(claim(store, driver)) == 4
    client.submit("w", {"org": "small"}, tenant="given")
    assert sql("SELECT tenant FROM dray.execution ORDER BY id DESC LIMIT 1") == [("given",)]


def test_a_tenants_row_that_somebody_keeps_locked_is_not_forgotten(
    store: DriverStore, client: Client, database: str
) -> None:
    execution = client.submit("w", tenant="a")
    driver = register(store)
    with transaction(database) as cursor:
        cursor.execute("SELECT dray.signal(%s::uuid, 'x')", (execution,))
        assert claim(store, driver) == []
        commit(cursor)
    assert claim(store, driver) == [execution]


def test_a_tenants_execution_that_comes_back_takes_its_turn(store: DriverStore, client: Client) -> None:
    execution = client.submit("w", tenant="a")
    driver = register(store)
    assert claim(store, driver) == [execution]
    store.commit(driver, [], [end(execution, "waiting", 0.0)])
    assert claim(store, driver) == []
    assert store.wake_due(9)[0] == 1
    assert claim(store, driver) == [execution]
    store.release(driver)
    assert claim(store, register(store)) == [execution]


def test_many_drivers_at_once_take_each_tenants_execution_once(engine: Engine, client: Client) -> None:
    executions = [each for n in range(20) for each in client.submit_many("w", range(20), tenant=f"t{n}")]
    taken: list[str] = []
    start = threading.Barrier(4)

    def take() -> None:
        store = DriverStore(engine)
        driver = register(store)
        start.wait(30)
        while found := claim(store, driver, 7):
            taken.extend(found)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert sorted(taken) == sorted(executions)
