"""Drivers are killed while executions wait for each other and for signals: each is woken, each child is made once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from tests.chaos.drivers import PATIENCE, driver
from tests.pg import Sql

pytestmark = pytest.mark.chaos

FAMILIES = 20


def apply(client: Client, name: str, nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> None:
    client.apply_workflow(name, canonical({"nodes": nodes, "edges": edges}, load_handlers()))


def test_nobody_is_left_waiting(database: str, client: Client, sql: Sql, tmp_path: Path) -> None:
    go = {"id": "go", "type": "wait_for_signal", "config": {"signal_name": "go"}}
    calls = [
        {"id": f"call{n}", "type": "sub_workflow", "config": {"workflow_id": "child", "wait_for_completion": True}}
        for n in range(3)
    ]
    nap = {"id": "nap", "type": "delay", "config": {"delay_seconds": 0.2}}
    apply(client, "child", [nap, go], [{"from": "nap", "to": "go"}])
    apply(client, "parent", calls, [])
    parents = client.submit_many("parent", [{}] * FAMILIES)
    children = "SELECT id::text FROM dray.execution WHERE parent_id IS NOT NULL ORDER BY id"
    signalled: set[str] = set()
    until = time.monotonic() + PATIENCE

    def signal(count: int) -> None:
        while len(signalled) < count:
            assert time.monotonic() < until, sql("SELECT status, count(*) FROM dray.execution GROUP BY 1")
            for (child,) in sql(children)[:count]:
                if child not in signalled:
                    client.signal(child, "go", dedupe="once")
                    signalled.add(child)
            time.sleep(0.02)

    with driver(database, tmp_path) as first, driver(database, tmp_path) as second:
        signal(FAMILIES)  # some early, some while they wait
        first.kill()
        with driver(database, tmp_path):
            signal(2 * FAMILIES)
            second.kill()
            signal(3 * FAMILIES)
            for parent in parents:
                found = client.wait(parent, PATIENCE)
                assert found.status == "completed", found.error
            while sql("SELECT count(*) FROM dray.pending_mark") != [(0,)]:
                assert time.monotonic() < until, "a mark that nobody places"
                time.sleep(0.1)
    assert sql("SELECT count(*), count(DISTINCT parent_id) FROM dray.execution WHERE parent_id IS NOT NULL") == [
        (3 * FAMILIES, FAMILIES)
    ]
    assert sql("SELECT count(*) FROM dray.signal WHERE consumed_by = 'go'") == [(3 * FAMILIES,)]
