"""A driver that dies between any two steps of an execution: nothing is lost, nothing recorded twice, no successor
starts before the commit, and no completed node runs again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.failpoints import NAMES
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from tests.chaos.drivers import PATIENCE, driver
from tests.chaos.effects import read_effects

pytestmark = pytest.mark.chaos

EXECUTIONS = 40
NODES = ("trigger", "first", "left", "right", "join")
GRAPH: dict[str, Any] = {
    "nodes": [{"id": "trigger", "type": "trigger"}, *({"id": each, "type": "effect"} for each in NODES[1:])],
    "edges": [
        {"from": "trigger", "to": "first"},
        {"from": "first", "to": "left"},
        {"from": "first", "to": "right"},
        {"from": "left", "to": "join"},
        {"from": "right", "to": "join"},
    ],
}
BEFORE = {"left": ["first"], "right": ["first"], "join": ["left", "right"]}


def submit(client: Client, graph: dict[str, Any] = GRAPH, count: int = EXECUTIONS) -> list[str]:
    handlers = load_handlers(["tests.chaos.effects"])
    client.apply_workflow("chaos", canonical(graph, handlers))
    return client.submit_many("chaos", [{"n": n} for n in range(count)])


def check_promises(client: Client, ids: list[str], folder: Path, stopped: int | None = None) -> None:
    """stopped: a process that stood still with handlers in it: they went on when it did, whoever ran them meanwhile."""
    committed: dict[str, float] = {}
    for execution in ids:
        assert client.wait(execution, timeout=PATIENCE).status == "completed", "promise 1"
        attempts = client.attempts(execution)
        done = [each for each in attempts if each.kind == "completed"]
        assert sorted(each.node_key for each in done) == sorted(NODES), "promise 2"
        committed |= {f"{execution}/{each.node_key}": each.at.timestamp() for each in done}
    effects = read_effects(folder / "effects.jsonl")
    assert {each.key for each in effects} == {key for key in committed if not key.endswith("/trigger")}
    for each in effects:
        execution, _, node = each.key.partition("/")
        assert each.at <= committed[each.key] or each.pid == stopped, (
            f"promise 3: {each.key} ran after it was completed"
        )
        for before in BEFORE.get(node, ()):
            at = committed[f"{execution}/{before}"]
            assert at <= each.at, f"promise 4: {each.key} started before {before} was committed"


@pytest.mark.parametrize("failpoint", [*NAMES, "before_commit@4", "after_commit@4", "after_collect@3"])
def test_a_driver_killed_at_any_step_loses_nothing(
    database: str, client: Client, tmp_path: Path, failpoint: str
) -> None:
    ids = submit(client)
    with driver(database, tmp_path, concurrency=20, claim_batch=10, failpoints=f"{failpoint}:kill") as first:
        if failpoint == "before_release":
            first.wait_said("Workflow worker started")
            first.process.terminate()
        assert first.wait_ended() == -9, first.said
    with driver(database, tmp_path) as second:
        second.wait_said("Workflow worker started")
        check_promises(client, ids, tmp_path)
        assert second.stop() == 0, second.said


def test_a_driver_that_stands_still_past_its_lease_writes_nothing_more(
    database: str, client: Client, tmp_path: Path
) -> None:
    ids = submit(client)
    with driver(database, tmp_path, concurrency=20, failpoints="before_commit@2:pause") as first:
        first.wait_said("Workflow worker started")
        with driver(database, tmp_path) as second:
            second.wait_said("reaped a driver")
            for each in ids:
                client.wait(each, timeout=PATIENCE)
            first.process.send_signal(18)  # SIGCONT
            first.wait_said("the lease is lost")
            check_promises(client, ids, tmp_path, stopped=first.process.pid)
            assert second.stop() == 0, second.said
        first.wait_said("starting again as a new incarnation")
        assert first.stop() == 0, first.said


def test_a_planned_stop_lets_running_nodes_finish_and_counts_no_crash(
    database: str, client: Client, tmp_path: Path
) -> None:
    graph = {**GRAPH, "nodes": [*GRAPH["nodes"][:1], *({**n, "config": {"seconds": 0.3}} for n in GRAPH["nodes"][1:])]}
    ids = submit(client, graph)
    with driver(database, tmp_path) as first:
        first.wait_said("Workflow worker started")
        while not read_effects(tmp_path / "effects.jsonl"):
            assert first.process.poll() is None, first.said
        assert first.stop() == 0, first.said
    ran = Counter(each.key for each in read_effects(tmp_path / "effects.jsonl"))
    recorded = Counter(f"{each}/{attempt.node_key}" for each in ids for attempt in client.attempts(each))
    assert {key for key in ran if ran[key] != recorded[key]} == set(), "what ran is recorded"
    assert {client.get(each).status for each in ids} <= {"queued", "completed"}
    assert {client.get(each).crash_count for each in ids} == {0}
    with driver(database, tmp_path):
        check_promises(client, ids, tmp_path)
