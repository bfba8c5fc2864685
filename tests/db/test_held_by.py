"""What a queued execution waits for is said: the gate at which it stands, its queue, a driver."""

from __future__ import annotations

from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from tests.db.helpers import GRAPH, claim, end, expire, register
from tests.pg import Sql


@pytest.fixture
def driver(store: DriverStore) -> str:
    return register(store)


def limit(client: Client, **limits: Any) -> None:
    client.apply_workflow("w", {**GRAPH, "limits": limits})


def test_nothing_holds_what_is_not_queued_or_only_waits_for_its_rank(
    store: DriverStore, client: Client, driver: str
) -> None:
    client.apply_workflow("w", GRAPH)
    [execution] = client.submit_many("w", [{}])
    assert client.held_by(execution) == []
    claim(store, driver)
    client.pause_queue("default")
    assert client.held_by(execution) == []
    assert client.held_by("00000000-0000-7000-8000-000000000000") == []


def test_a_place_of_the_workflow(store: DriverStore, client: Client, driver: str) -> None:
    limit(client, concurrency=1)
    first, second = client.submit_many("w", [{}, {}])
    claim(store, driver)
    assert client.held_by(second) == ["concurrency limit of workflow w (1)"]
    store.commit(driver, [], [end(first)])
    claim(store, driver)
    assert client.held_by(second) == []


def test_a_place_of_its_key(store: DriverStore, client: Client, driver: str) -> None:
    limit(client, key=["c"], key_limit=1, concurrency=9)
    _, second = client.submit_many("w", [{"c": "k"}, {"c": "k"}])
    claim(store, driver)
    assert client.held_by(second) == ["concurrency limit of workflow w for each key (1), key 'k'"]


def test_the_rate(store: DriverStore, client: Client, driver: str) -> None:
    limit(client, rate={"limit": 1, "per": 3600.0, "key": ["c"]})
    _, second = client.submit_many("w", [{"c": "k"}, {"c": "k"}])
    claim(store, driver)
    assert client.held_by(second) == ["rate of workflow w (1 within 3600.0 s), key 'k'"]
    limit(client, rate={"limit": 2, "per": 3600.0, "key": ["c"]})
    claim(store, driver)
    assert client.held_by(second) == []


def test_the_turn_of_its_tenant(store: DriverStore, client: Client, driver: str) -> None:
    client.apply_workflow("w", GRAPH)
    execution = client.submit("w", {}, tenant="t")
    assert client.held_by(execution) == ["the turns of tenants in queue default, tenant 't'"]


def test_its_queue(store: DriverStore, client: Client, driver: str) -> None:
    client.apply_workflow("w", GRAPH)
    client.limit_queue("default", concurrency=1, rate=1, per=3600)
    _, second = client.submit_many("w", [{}, {}])
    assert client.held_by(second) == []
    claim(store, driver)
    client.pause_queue("default")
    assert client.held_by(second) == [
        "queue default is paused",
        "concurrency limit of queue default (1)",
        "rate of queue default (1 within 3600 s)",
    ]


def test_no_driver(store: DriverStore, client: Client, sql: Sql) -> None:
    client.apply_workflow("w", GRAPH)
    execution = client.submit("w", {}, queue="reports")
    assert client.held_by(execution) == ["no driver takes from queue reports"]
    driver = register(store)
    sql('UPDATE dray.driver SET info = \'{"queues": ["reports"]}\'')
    assert client.held_by(execution) == []
    sql('UPDATE dray.driver SET info = \'{"queues": ["default"]}\'')
    assert client.held_by(execution) == ["no driver takes from queue reports"]
    expire(sql, driver)
    assert client.held_by(execution) == ["no driver takes from queue reports"]
