"""A driver whose runners do not start takes nothing from one whose runners do, and gives back what it has taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dray.actors.pool import line
from dray.actors.pool.events import PoolEvent, RunnerHandle, RunnerLost
from dray.actors.pool.local import local_runners
from dray.actors.pool.pool import Shape
from dray.cluster.errors import RunnersMissing
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from tests.db.test_driver import HANDLERS, PATIENCE, driving, until
from tests.pg import Sql


class Starting:
    """A runner whose process starts, and starts, and never gets ready. The end of the driver ends it."""

    answers_within = None

    def submit(self, specs: Any, tasks: Any) -> None:
        raise AssertionError("it was never ready")

    def collect(self) -> None: ...
    def cancel(self, ids: Any) -> None: ...
    def kill(self) -> None: ...


def hangs(number: int, shape: Shape, notify: Callable[[PoolEvent], None]) -> RunnerHandle:
    return Starting()


def dies(number: int, shape: Shape, notify: Callable[[PoolEvent], None]) -> RunnerHandle:
    notify(RunnerLost(number, "it cannot import shop"))
    return Starting()


@pytest.fixture(autouse=True)
def _workflow(client: Client) -> None:
    client.apply_workflow("w", canonical({"nodes": [{"id": "a", "type": "log", "config": {"message": "x"}}]}, HANDLERS))


@pytest.mark.parametrize("runners", [hangs, dies])
def test_nothing_is_claimed_before_a_runner_is_ready(
    store: DriverStore, client: Client, sql: Sql, runners: Any
) -> None:
    turns: list[int] = []
    submitted = client.submit_many("w", [None] * 20)
    with driving(store, on_turn=lambda: turns.append(1), runners=runners, concurrency=100, claim_batch=100):
        until(lambda: len(turns) > 3)
        with driving(store):
            for execution in submitted:
                assert client.wait(execution, PATIENCE).status == "completed"
    assert sql("SELECT max(claim_count), max(crash_count) FROM dray.execution") == [(1, 0)]


def test_what_is_held_is_given_back_when_none_comes_any_more(
    store: DriverStore, client: Client, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "LACK", 1.0)
    made: list[RunnerHandle] = []

    def only_once(number: int, shape: Shape, notify: Callable[[PoolEvent], None]) -> RunnerHandle:
        if made:
            return dies(number, shape, notify)
        made.append(local_runners(8, 1 << 20)(number, shape, notify))
        return made[0]

    with driving(store, runners=only_once) as (driver, ended):
        until(lambda: bool(made) and bool(sql("SELECT 1 FROM dray.runner")))
        driver._inbox.put(RunnerLost(1, "its process was killed"))
        execution = client.submit("w")
        error = ended()
    assert isinstance(error, RunnersMissing)
    assert "it cannot import shop" in str(error)
    assert sql("SELECT status, crash_count, owner FROM dray.execution") == [("queued", 0, None)]
    with driving(store):
        assert client.wait(execution, PATIENCE).status == "completed"
