"""Drivers that are killed while they run a schedule's slots: every slot has one execution, none has two."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dray.cluster.graph.canonical import canonical
from dray.cluster.schedules import Timing
from dray.store.client.client import Client
from tests.chaos.drivers import PATIENCE, DriverProcess, driver
from tests.chaos.test_failpoints import load_handlers

pytestmark = pytest.mark.chaos


def slots(client: Client) -> list[datetime]:
    found = [client.get(each.id).input["scheduled_at"] for each in client.list(limit=1000)]
    return sorted(map(datetime.fromisoformat, found))


def wait_until(true: Callable[[], bool], running: DriverProcess) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, running.said
        time.sleep(0.05)


@pytest.mark.parametrize("failpoint", ["before_slot", "after_slot"])
def test_each_second_has_one_execution_whoever_is_killed(
    database: str, client: Client, tmp_path: Path, failpoint: str
) -> None:
    client.apply_workflow("tick", canonical({"nodes": [{"id": "a", "type": "trigger"}], "edges": []}, load_handlers()))
    client.set_schedule("tick", "tick", Timing.every(1), overlap="allow")
    # Two race for the slots, and none need ever win: the first that comes to its third slot dies.
    dies = {"failpoints": f"{failpoint}@3:kill"}
    with driver(database, tmp_path, **dies) as one, driver(database, tmp_path, **dies) as other:
        wait_until(lambda: -9 in (one.process.poll(), other.process.poll()), one)
        with driver(database, tmp_path) as third:
            count = len(slots(client)) + 4
            wait_until(lambda: len(slots(client)) >= count, third)
            assert third.stop() == 0, third.said
    found = slots(client)
    assert found == [found[0] + timedelta(seconds=number) for number in range(len(found))]
