"""Loops, items and children whose drivers are killed again and again: nothing is lost, nothing recorded twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from tests.chaos.drivers import PATIENCE, driver
from tests.chaos.effects import read_effects

pytestmark = pytest.mark.chaos

CHILD = {"nodes": [{"id": "only", "type": "effect"}], "edges": []}
# Three items side by side; in each two turns, and in each turn a child that is waited for.
GRAPH: dict[str, Any] = {
    "nodes": [
        {"id": "each", "type": "foreach", "config": {"items": "[1, 2, 3]", "max_parallel": 2}},
        {"id": "turns", "type": "repeat", "config": {"repeat_count": 2}},
        {"id": "work", "type": "effect"},
        {"id": "call", "type": "sub_workflow", "config": {"workflow": "child", "wait_for_completion": True}},
        {"id": "after", "type": "effect"},
    ],
    "edges": [
        {"from": "each", "to": "turns", "branch": "body"},
        {"from": "turns", "to": "work", "branch": "body"},
        {"from": "work", "to": "call"},
        {"from": "call", "to": "turns"},
        {"from": "turns", "to": "each", "branch": "done"},
        {"from": "each", "to": "after", "branch": "done"},
    ],
}
EXECUTIONS = 8


def expected() -> set[str]:
    keys = {"each[]", "each", "after"}
    for item in range(3):
        keys |= {f"each[{item}]/turns[]", f"each[{item}]/turns"}
        keys |= {f"each[{item}]/turns[{turn}]/{node}" for turn in range(2) for node in ("work", "call")}
    return keys


def test_drivers_killed_at_every_commit_that_they_live_to(database: str, client: Client, tmp_path: Path) -> None:
    handlers = load_handlers(["tests.chaos.effects"])
    client.apply_workflow("child", canonical(CHILD, handlers))
    client.apply_workflow("loops", canonical(GRAPH, handlers))
    ids = client.submit_many("loops", [{}] * EXECUTIONS)
    for failpoint in ("before_commit@2", "after_commit@5", "after_collect@6", "before_commit@9", "after_plan@3"):
        with driver(database, tmp_path, failpoints=f"{failpoint}:kill") as killed:
            assert killed.wait_ended() == -9, killed.said
    with driver(database, tmp_path) as last:
        for each in ids:
            found = client.wait(each, timeout=PATIENCE)
            assert (found.status, found.error) == ("completed", None)
        assert last.stop() == 0, last.said
    children = client.list(workflow="child", limit=1_000)
    assert len(children) == EXECUTIONS * 6, "each is started once"
    assert {each.status for each in children} == {"completed"}
    ran = Counter(each.key for each in read_effects(tmp_path / "effects.jsonl"))
    for each in ids:
        attempts = client.attempts(each)
        done = Counter(attempt.node_key for attempt in attempts if attempt.kind == "completed")
        assert set(done) == expected()
        assert set(done.values()) == {1}, "recorded once"
        assert {f"{each}/{key}" for key in expected() if key.rpartition("/")[2] in ("work", "after")} <= set(ran)
