"""Only what died with its driver counts against an execution, with real processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from tests.chaos.drivers import PATIENCE, driver

HANDLERS = load_handlers(["tests.chaos.effects"])
pytestmark = pytest.mark.chaos


def apply(client: Client, name: str, node_type: str, **config: Any) -> None:
    client.apply_workflow(
        name, canonical({"nodes": [{"id": "a", "type": node_type, "config": config}], "edges": []}, HANDLERS)
    )


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def test_whoever_ends_the_process_that_all_run_in_is_the_only_one_that_fails(
    database: str, client: Client, tmp_path: Path
) -> None:
    apply(client, "crash", "crash")
    apply(client, "innocent", "effect", seconds=1.0)
    (culprit,) = client.submit_many("crash", [{}])
    innocent = client.submit_many("innocent", [{}] * 6)
    for _ in range(4):
        with driver(database, tmp_path) as running:
            assert running.wait_ended() == 13, running.said
    with driver(database, tmp_path) as running:
        assert client.wait(culprit, PATIENCE).status == "failed"
        assert {client.wait(each, PATIENCE).status for each in innocent} == {"completed"}
        assert running.stop() == 0
    error = client.get(culprit).error
    assert error is not None
    assert error["type"] == "poison"


def test_a_driver_that_lost_its_lease_and_lives_has_not_crashed(database: str, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "go"
    apply(client, "held", "hold", file=str(file))
    (execution,) = client.submit_many("held", [{}])
    with driver(database, tmp_path) as first:
        until(Path(f"{file}.began").exists)
        first.process.send_signal(signal.SIGSTOP)
        with driver(database, tmp_path) as second:
            until(lambda: client.get(execution).crash_count == 1)
            first.process.send_signal(signal.SIGCONT)
            until(lambda: client.get(execution).crash_count == 0)
            file.touch()
            assert client.wait(execution, PATIENCE).status == "completed"
            assert second.stop() == 0
        assert first.stop() == 0
