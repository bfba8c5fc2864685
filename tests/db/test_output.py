"""dray.output and dray.attempts: what people and programs see of an execution's nodes."""

from __future__ import annotations

from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.records import Kind, Outcome
from tests.db.helpers import QUEUES, end, outcome, register
from tests.pg import Sql


class Run:
    """One running execution of a graph, with a trigger `t` where that has one."""

    def __init__(self, store: DriverStore, client: Client, nodes: str, edges: str) -> None:
        self._store, self._client = store, client
        graph = {
            "format": 1,
            "nodes": [{"id": each} for each in nodes],
            "edges": [{"from": each[0], "to": each[1]} for each in edges.split()],
        }
        client.apply_workflow("g", graph)
        self.id = client.submit("g", {"in": 1})
        self._driver = register(store)
        store.claim(self._driver, QUEUES, 9)

    def commit(self, *outcomes: Outcome, status: str = "completed") -> Any:
        self._store.commit(self._driver, outcomes, [end(self.id, status)])
        return self._client.get(self.id).output


def test_the_output_is_that_of_the_one_end_node(store: DriverStore, client: Client) -> None:
    run = Run(store, client, "tab", "ta ab")
    assert run.commit(outcome(run.id, "t", None), outcome(run.id, "a", "1"), outcome(run.id, "b", "[2]")) == [2]


def test_a_trigger_without_successors_gives_the_input(store: DriverStore, client: Client) -> None:
    run = Run(store, client, "t", "")
    assert run.commit(outcome(run.id, "t", None)) == {"in": 1}


def test_several_ends_give_an_object_of_those_that_ran(store: DriverStore, client: Client) -> None:
    run = Run(store, client, "tabc", "ta ab ac")
    assert run.commit(outcome(run.id, "a", "1"), outcome(run.id, "b", "null"), outcome(run.id, "c", "3")) == {
        "b": None,
        "c": 3,
    }
    run = Run(store, client, "tabc", "ta ab ac")
    assert run.commit(outcome(run.id, "a", "1"), outcome(run.id, "c", "3")) == {"c": 3}
    assert Run(store, client, "tabc", "ta ab ac").commit() == {}


def test_a_parked_node_that_is_an_end_gives_what_it_waited_with(store: DriverStore, client: Client) -> None:
    run = Run(store, client, "ta", "ta")
    assert run.commit(outcome(run.id, "a", '"w"', kind=Kind.WAITS_FOR_TIME, wait=-1.0)) == "w"


def test_failed_attempts_are_no_output(store: DriverStore, client: Client) -> None:
    run = Run(store, client, "ta", "ta")
    outcomes = [
        outcome(run.id, "a", None, 0, kind=Kind.STARTED),
        outcome(run.id, "a", '{"type": "E"}', 1, kind=Kind.RETRIED, wait=1.0),
        outcome(run.id, "a", '{"type": "L"}', 2, kind=Kind.RUNNER_LOST),
        outcome(run.id, "a", '"good"', 3),
    ]
    assert run.commit(*outcomes) == "good"
    found = [(each.attempt, each.kind, each.outcome) for each in client.attempts(run.id)]
    assert sorted(found) == [
        (0, "started", None),
        (1, "retried", {"type": "E"}),
        (2, "lost", {"type": "L"}),
        (3, "completed", "good"),
    ]


def test_an_end_that_was_skipped_gives_null(store: DriverStore, client: Client) -> None:
    run = Run(store, client, "ta", "ta")
    assert run.commit(outcome(run.id, "t", None)) is None


@pytest.mark.parametrize("status", ["failed", "cancelled", "queued", "waiting"])
def test_only_a_completed_execution_has_an_output(store: DriverStore, client: Client, status: str) -> None:
    run = Run(store, client, "ta", "ta")
    assert run.commit(outcome(run.id, "a", "1"), status=status) is None


def test_the_attempt_of_a_trigger_shows_the_input(store: DriverStore, client: Client) -> None:
    run = Run(store, client, "ta", "ta")
    run.commit(outcome(run.id, "t", None), outcome(run.id, "a", '{"type": "E"}', kind=Kind.FAILED), status="failed")
    found = {each.node_key: (each.kind, each.outcome) for each in client.attempts(run.id)}
    assert found == {"t": ("completed", {"in": 1}), "a": ("failed", {"type": "E"})}


def test_a_node_that_waits_shows_until_when(store: DriverStore, client: Client, sql: Sql) -> None:
    run = Run(store, client, "ta", "ta")
    run.commit(outcome(run.id, "a", None, kind=Kind.WAITS_FOR_TIME, wait=60.0), status="waiting")
    (found,) = client.attempts(run.id)
    assert (found.kind, found.outcome) == ("waiting", None)
    assert found.wake_at is not None
    assert found.wake_at > found.at


def test_the_output_of_an_unknown_execution_is_null(sql: Sql) -> None:
    assert sql("SELECT dray.output(gen_random_uuid())") == [(None,)]


def test_a_loop_in_a_loop_that_only_ways_out_of_its_body_leave_is_no_end(store: DriverStore, client: Client) -> None:
    edges = [("t", "o", None), ("o", "i", "body"), ("i", "x", "body"), ("x", "i", "back"), ("x", "o", "back")]
    graph = {
        "format": 1,
        "nodes": [{"id": each} for each in "toixd"],
        "edges": [
            {"from": source, "to": target, "label": None, **({"role": role} if role else {})}
            for source, target, role in [*edges, ("o", "d", None)]
        ],
        "regions": [
            {"header": "o", "kind": "for", "parent": None, "nodes": ["i"]},
            {"header": "i", "kind": "for", "parent": 0, "nodes": ["x"]},
        ],
    }
    client.apply_workflow("g", graph)
    execution = client.submit("g", {})
    driver = register(store)
    store.claim(driver, QUEUES, 9)
    store.commit(driver, [outcome(execution, "d", "[2]")], [end(execution, "completed")])
    assert client.get(execution).output == [2]
