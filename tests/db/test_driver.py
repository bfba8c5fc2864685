"""The driver in this process, on a real database, with runners in threads."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from dray.actors.pool.local import local_runners
from dray.actors.pool.pool import Pool, RunnerFactory, Shape
from dray.actors.registry import load_handlers
from dray.cluster.driver.driver import Driver
from dray.cluster.driver.options import DriverOptions
from dray.cluster.execution.attempts import Policy
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import LeaseLost
from dray.store.listener import Listener
from tests.chaos.effects import EFFECTS, read_effects
from tests.pg import Sql

HANDLERS = load_handlers(["tests.chaos.effects"])
PATIENCE = 60.0  # seconds for anything to happen; never waited out when all is well


@contextmanager
def driving(
    store: DriverStore,
    on_turn: Callable[[], None] = lambda: None,
    runners: RunnerFactory | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> Iterator[tuple[Driver, Callable[[], BaseException | None]]]:
    """A driver that runs, and a function that waits for its end and gives what it raised."""
    shape = Shape()
    given = DriverOptions(("default",), 4, 4, 0.05, 15.0, 5.0, 20.0, shape, Policy())._replace(**options)
    raised: list[BaseException] = []

    def make_pool(notify: Callable[[Any], None]) -> Pool:
        return Pool(runners or local_runners(8, 1 << 20), notify, default=shape, size=1, slots=8)

    driver = Driver(str(uuid.uuid4()), store, make_pool, listener, given, {"pid": 1, "host": "here"})

    def run() -> None:
        try:
            driver.run(on_turn=on_turn)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def ended() -> BaseException | None:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it still drives"
        return raised[0] if raised else None

    try:
        yield driver, ended
    finally:
        driver.drain()
        ended()


def until(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _effects(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EFFECTS, str(tmp_path / "effects.jsonl"))


def hold(node_id: str, file: Path) -> dict[str, Any]:
    """A node that runs until the file is there."""
    return {"id": node_id, "type": "hold", "config": {"file": str(file)}}


def effect(node_id: str, seconds: float, **rest: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "effect", "config": {"seconds": seconds}, **rest}


def test_a_drain_starts_no_node_that_may_run_at_most_once(store: DriverStore, client: Client, tmp_path: Path) -> None:
    go = tmp_path / "go"
    nodes = [hold("a", go), effect("b", 0.0, at_most_once=True)]
    client.apply_workflow("w", canonical({"nodes": nodes, "edges": [{"from": "a", "to": "b"}]}, HANDLERS))
    execution = client.submit("w")
    with driving(store) as (driver, ended):
        until((tmp_path / "go.began").exists)
        driver.drain()
        go.touch()
        assert ended() is None
    assert [(each.node_key, each.kind) for each in client.attempts(execution)] == [("a", "completed")]
    with driving(store):
        assert client.wait(execution, PATIENCE).status == "completed"


def test_a_driver_with_little_room_looks_for_work_again_soon(
    store: DriverStore, client: Client, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    for name, node in (("long", hold("a", go)), ("short", effect("a", 0.0))):
        client.apply_workflow(name, canonical({"nodes": [node], "edges": []}, HANDLERS))
    long = client.submit_many("long", [{}] * 3, priority=9)
    with driving(store):
        until(lambda: all(client.get(each).status == "running" for each in long))
        for each in client.submit_many("short", [{}] * 10):
            assert client.wait(each, PATIENCE).status == "completed"
        assert {client.get(each).status for each in long} == {"running"}, "all of them beside the long ones"
        go.touch()


def test_an_execution_without_its_workflow_fails_alone(store: DriverStore, client: Client, sql: Sql) -> None:
    for name in ("lost", "kept"):
        client.apply_workflow(name, canonical({"nodes": [effect("a", 0.0)], "edges": []}, HANDLERS))
    lost, kept = client.submit("lost"), client.submit("kept")
    sql("UPDATE dray.execution SET workflow_id = 999 WHERE id = %(id)s::uuid", id=lost)
    with driving(store):
        assert client.wait(kept, PATIENCE).status == "completed"
        until(
            lambda: sql("SELECT error ->> 'type' FROM dray.execution WHERE status = 'failed'") == [("graph_invalid",)]
        )


class Hangs(DriverStore):
    """After the registration nothing is answered before `answer` is set."""

    answer = threading.Event()

    def _ask(self, name: str, given: Mapping[str, Any]) -> list[Any]:
        if name != "register_driver":
            self.answer.wait(2 * PATIENCE)
        return super()._ask(name, given)


def test_a_renewal_without_an_answer_does_not_keep_the_driver_going(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    store = Hangs(engine)
    with driving(store, lease_ttl=1.5, heartbeat=0.5) as (_, ended):
        until(lambda: "the lease is lost" in caplog.text)
        store.answer.set()
        assert isinstance(ended(), LeaseLost)


def test_a_drain_runs_what_may_run_at_most_once_and_has_started(
    store: DriverStore, client: Client, tmp_path: Path
) -> None:
    graph = {"nodes": [effect("b", 0.5, at_most_once=True)], "edges": []}
    client.apply_workflow("w", canonical(graph, HANDLERS))
    ids = client.submit_many("w", [{}] * 12)
    with driving(store, concurrency=12, claim_batch=12) as (driver, ended):  # more than its runner takes at once
        until(lambda: sum(len(client.attempts(each)) for each in ids) == 12)
        driver.drain()
        assert ended() is None
    with driving(store):
        assert {client.wait(each, PATIENCE).status for each in ids} == {"completed"}
    assert len(read_effects(tmp_path / "effects.jsonl")) == 12


def test_a_drain_at_once_waits_for_no_node(store: DriverStore, client: Client, tmp_path: Path) -> None:
    go = tmp_path / "go"
    client.apply_workflow("w", canonical({"nodes": [hold("a", go)], "edges": []}, HANDLERS))
    execution = client.submit("w")
    with driving(store, drain_timeout=3600.0) as (driver, ended):
        until((tmp_path / "go.began").exists)
        driver.drain()
        driver.drain(at_once=True)
        assert ended() is None
    assert client.get(execution).status == "queued"
    go.touch()


def test_a_driver_keeps_the_limits_and_goes_on_from_one_to_the_next(
    store: DriverStore, client: Client, tmp_path: Path
) -> None:
    graph = {"nodes": [effect("a", 0.05)], "edges": [], "concurrency": {"key": "input.k"}, "tenant": "input.t"}
    client.apply_workflow("keyed", canonical(graph, HANDLERS))
    client.apply_workflow("plain", canonical({"nodes": [effect("a", 0.05)], "edges": []}, HANDLERS))
    client.limit_queue("slow", concurrency=1)
    keyed = client.submit_many("keyed", [{"k": n % 2, "t": n % 3} for n in range(12)])
    slow = client.submit_many("plain", [{}] * 6, queue="slow")
    with driving(store, queues=("default", "slow")):
        assert {client.wait(each, PATIENCE).status for each in keyed + slow} == {"completed"}
    for line in (keyed[::2], keyed[1::2], slow):
        runs = sorted((each.started_at, each.finished_at) for each in map(client.get, line))
        assert all(end <= start for (_, end), (start, _) in pairwise(runs)), "one after the other"


def test_a_driver_that_stands_still_tells_of_no_turn_although_its_lease_is_renewed(
    store: DriverStore, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the watchdog of systemd lives on: it must come from the decisions, not from a thread beside them."""
    stands, go_on = threading.Event(), threading.Event()
    turns: list[str] = []

    def hit(name: str) -> None:
        if name == "after_dispatch" and stands.is_set():
            go_on.wait(60)

    def expires() -> Any:
        return sql("SELECT lease_until FROM dray.driver")

    with driving(store, on_turn=lambda: turns.append(threading.current_thread().name), heartbeat=0.1) as (
        driver,
        ended,
    ):
        until(lambda: len(turns) > 3)
        monkeypatch.setattr("dray.cluster.driver.driver.failpoints.hit", hit)
        stands.set()
        until(lambda: _stays(turns, expires))
        stands.clear()
        go_on.set()
        before = len(turns)
        until(lambda: len(turns) > before)
        driver.drain()
        assert ended() is None


def _stays(turns: list[str], expires: Callable[[], Any]) -> bool:
    """No turn between two renewals of the lease."""
    before, lease = len(turns), expires()
    until(lambda: expires() != lease)
    return len(turns) == before


def test_an_execution_whose_node_has_a_key_that_cannot_be_stored_fails_and_is_told_once(
    store: DriverStore, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Stored before such keys were refused: neither the outcome nor the failure of the node fits into the index."""
    pick = random.Random(1)
    name = "".join(chr(pick.randrange(0x4E00, 0x9000)) for _ in range(1_200))  # 3,600 bytes that do not compress
    found = canonical({"nodes": [{"id": "a", "type": "log", "config": {"message": "x"}}], "edges": []}, HANDLERS)
    client.apply_workflow("w", json.loads(json.dumps(found).replace('"a"', json.dumps(name))))
    (execution,) = client.submit_many("w", [{}])
    with driving(store):
        assert client.wait(execution, PATIENCE).status == "failed"
    error = client.get(execution).error
    assert error is not None
    assert error["type"] == "output_refused"
    assert sum("outcome refused" in each.getMessage() for each in caplog.records) == 1


def test_a_node_is_tried_as_often_as_it_takes(store: DriverStore, client: Client, sql: Sql) -> None:
    """One that asks every second has used up 32,767 numbers after nine hours."""
    found = canonical({"nodes": [{"id": "a", "type": "log", "config": {"message": "x"}}], "edges": []}, HANDLERS)
    client.apply_workflow("w", found)
    (execution,) = client.submit_many("w", [{}])
    sql(
        "INSERT INTO dray.checkpoint (execution_id, at, attempt, kind, node_key, outcome, wake_at) "
        "VALUES (%(id)s::uuid, now(), 32767, 'g', 'a', '{}', now())",
        id=execution,
    )
    sql("UPDATE dray.execution SET claim_count = 1 WHERE id = %(id)s::uuid", id=execution)
    with driving(store):
        assert client.wait(execution, PATIENCE).status == "completed"
    assert [each.attempt for each in client.attempts(execution)] == [32767, 32768]
