"""Handlers that misbehave on real Ray runners: their node fails with a clear error, everything else goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from tests.chaos.drivers import PATIENCE, driver
from tests.pg import Sql

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

ANSWERS = {
    "nan": "output.x is nan",
    "nul": "NUL",
    "surrogate": "surrogate",
    "object": "output.x",
    "large": "bytes",
    "deep": "nested",
    "raises": "xxx",
    "exits": "SystemExit",
}


def apply(client: Client, name: str, *nodes: dict[str, Any], edges: Any = ()) -> str:
    graph = {"nodes": list(nodes), "edges": list(edges)}
    client.apply_workflow(name, canonical(graph, load_handlers(["tests.chaos.effects"])))
    return name


def test_whatever_a_handler_does_only_its_own_execution_fails(
    database: str, client: Client, sql: Sql, tmp_path: Path
) -> None:
    bad = {
        way: client.submit(
            apply(client, f"bad-{way}", {"id": "n", "type": "bad", "config": {"way": way}, "max_retries": 0})
        )
        for way in ANSWERS
    }
    crash = client.submit(apply(client, "crash", {"id": "n", "type": "crash"}))
    stuck = client.submit(apply(client, "stuck", {"id": "n", "type": "stuck", "timeout": 1, "max_retries": 0}))
    rescued = client.submit(
        apply(
            client,
            "rescued",
            {"id": "n", "type": "crash"},
            {"id": "rescue", "type": "effect"},
            edges=[{"from": "n", "to": "rescue", "condition": "failed"}],
        )
    )
    good = client.submit_many(
        apply(client, "good", {"id": "n", "type": "effect", "config": {"seconds": 0.02}}), [{}] * 300
    )
    with driver(database, tmp_path, executor="ray", runners=2, runner_cpus=0.5, runner_concurrency=8) as running:
        for execution in good:
            assert client.wait(execution, PATIENCE).status == "completed", running.said
        for way, execution in bad.items():
            found = client.wait(execution, PATIENCE)
            assert found.status == "failed", way
            assert found.error is not None
            assert found.error["node"] == "n"
            assert ANSWERS[way] in f"{found.error['type']}: {found.error['message']}", (way, found.error)
            assert len(found.error["message"]) < 3_000
            kinds = [each.kind for each in client.attempts(execution)]
            assert kinds[-1] == "failed"
            assert kinds.count("lost") <= 3, "crashing neighbours may have taken it along"
        error = client.wait(stuck, PATIENCE).error
        assert error is not None
        assert error["type"] == "timeout"
        error = client.wait(crash, PATIENCE).error
        assert error is not None
        assert error["type"] == "poison"
        kinds = Counter(each.kind for each in client.attempts(crash))
        assert kinds == {"lost": 3, "failed": 1}
        assert client.wait(rescued, PATIENCE).status == "completed", "its error edge took over"
        assert running.stop() == 0, running.said
    lost = sql(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM dray.checkpoint WHERE kind = 'l' GROUP BY execution_id) l"
    )
    assert lost == [(3,)]
    innocent = sql(
        "SELECT count(*) FROM dray.checkpoint c JOIN dray.execution e ON e.id = c.execution_id "
        "JOIN dray.workflow w ON w.id = e.workflow_id WHERE w.name = 'good' AND c.kind = 'l' AND c.attempt > 3"
    )
    assert innocent == [(0,)], "whom crashing nodes took along twice runs alone, and completes"


def test_one_that_kills_all_runners_again_and_again_condemns_only_itself(
    database: str, client: Client, sql: Sql, tmp_path: Path
) -> None:
    culprit = client.submit(apply(client, "massacre", {"id": "n", "type": "massacre"}))
    slow = {"id": "n", "type": "effect", "config": {"seconds": 1.0}}
    innocent = client.submit_many(apply(client, "innocent", slow), [{}] * 8)
    with driver(database, tmp_path, executor="ray", runners=3, runner_cpus=0.1, runner_concurrency=8) as running:
        error = client.wait(culprit, PATIENCE).error
        assert error is not None
        assert error["type"] == "poison", running.said
        assert {client.wait(each, PATIENCE).status for each in innocent} == {"completed"}, running.said
        assert running.stop() == 0
    lost = [[each.kind for each in client.attempts(execution)].count("lost") for execution in innocent]
    assert max(lost) <= 2, "then each runs apart from the others"
