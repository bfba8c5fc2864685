"""What a driver is told while it is busy with something else: it hears of it, soon, and once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from dray.actors.pool.pool import RunnerLost
from dray.cluster.execution.attempts import Policy
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.listener import Listener
from dray.store.records import Kind
from tests.db.helpers import GRAPH, claim, end, outcome, register, status
from tests.db.test_driver import HANDLERS, driving, hold, until
from tests.db.test_news_end_to_end import apply, edge, ended, node, parked
from tests.pg import Sql

DRIVER = "dray.cluster.driver"


def kinds(client: Client, execution: str, node_key: str) -> list[str]:
    return [each.kind for each in client.attempts(execution) if each.node_key == node_key]


def test_a_signal_that_is_read_while_its_claim_is_on_the_way_is_heard(
    store: DriverStore, client: Client, sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be heard when the execution parks, which may take as long as the node beside it."""
    waits = [node(each, "wait_for_signal", signal_name=each) for each in ("first", "second")]
    nodes = [node("start", "trigger"), *waits, hold("works", tmp_path / "go")]
    graph = {"nodes": nodes, "edges": [edge("start", "first"), edge("start", "second"), edge("first", "works")]}
    client.apply_workflow("w", canonical(graph, HANDLERS))
    stands, came, goes_on = threading.Event(), threading.Event(), threading.Event()

    def hit(name: str) -> None:
        if name == "after_load" and stands.is_set():
            came.set()
            goes_on.wait(60)

    monkeypatch.setattr(f"{DRIVER}.claimer.failpoints.hit", hit)
    with driving(store):
        execution = client.submit("w")
        parked(client, execution)
        stands.set()
        client.signal(execution, "first")
        assert came.wait(60)
        client.signal(execution, "second")
        until(lambda: sql("SELECT wake FROM dray.execution") == [(None,)])  # it was read
        stands.clear()
        goes_on.set()
        until(lambda: kinds(client, execution, "second") == ["awaiting", "completed"])
        assert kinds(client, execution, "works") == []
        (tmp_path / "go").touch()
        ended(client, execution)
    assert sql("SELECT name FROM dray.signal WHERE consumed_at IS NULL") == []


def test_a_driver_that_listens_need_not_look_to_hear_what_people_ask(
    store: DriverStore,
    client: Client,
    sql: Sql,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{DRIVER}.housekeeper.TURN", 3600.0)
    graph = {"nodes": [hold("a", tmp_path / "go"), {"id": "b", "type": "merge"}], "edges": [edge("a", "b")]}
    client.apply_workflow("w", canonical(graph, HANDLERS))
    with driving(store, listener=Listener(database)):
        execution = client.submit("w")
        until((tmp_path / "go.began").exists)
        until(lambda: sql("SELECT 1 FROM pg_stat_activity WHERE query = 'LISTEN dray'") != [])
        client.cancel(execution)
        until(lambda: client.get(execution).status == "cancelled")
        (tmp_path / "go").touch()
    assert kinds(client, execution, "b") == []


def test_a_cancel_of_the_top_stops_what_runs_levels_below_before_its_next_node(
    store: DriverStore,
    client: Client,
    sql: Sql,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{DRIVER}.housekeeper.TURN", 3600.0)
    low = {"nodes": [hold("a", tmp_path / "go"), {"id": "b", "type": "merge"}], "edges": [edge("a", "b")]}
    client.apply_workflow("low", canonical(low, HANDLERS))
    for name, below in (("mid", "low"), ("top", "mid")):
        apply(client, name, [node("sub", "sub_workflow", workflow_id=below, wait_for_completion=True)])
    with driving(store, listener=Listener(database)):
        top = client.submit("top")
        until((tmp_path / "go.began").exists)
        until(lambda: sql("SELECT 1 FROM pg_stat_activity WHERE query = 'LISTEN dray'") != [])
        client.cancel(top)
        assert {each.status for each in client.list()} == {"cancelled", "running"}
        until(lambda: {each.status for each in client.list()} == {"cancelled"})
        (tmp_path / "go").touch()
    recorded = {each.node_key for found in client.list() for each in client.attempts(found.id)}
    assert recorded == {"sub"}


@pytest.mark.parametrize("limit", [3, 0], ids=["lost", "poison"])
def test_the_attempt_of_a_lost_runner_names_the_runner_its_host_and_its_process(
    store: DriverStore, client: Client, tmp_path: Path, limit: int
) -> None:
    client.apply_workflow("w", canonical({"nodes": [hold("a", tmp_path / "go")], "edges": []}, HANDLERS))
    with driving(store, policy=Policy(crash_limit=limit)) as (driver, _):
        execution = client.submit("w")
        until((tmp_path / "go.began").exists)
        driver._inbox.put(RunnerLost(1, "killed"))
        until(lambda: len(client.attempts(execution)) > 0)
        (tmp_path / "go").touch()
        client.wait(execution, 60)
    lost = client.attempts(execution)[0]
    assert lost.kind == ("lost" if limit else "failed")
    assert "killed" in lost.outcome["message"]
    assert lost.runner
    assert lost.host
    assert lost.pid


def test_a_child_whose_workflow_is_not_there_says_so(store: DriverStore, client: Client) -> None:
    apply(client, "w", [node("sub", "sub_workflow", workflow_id="nowhere", wait_for_completion=True)])
    with driving(store):
        found = ended(client, client.submit("w"), "failed").error
    assert found == {
        "type": "config",
        "message": 'it cannot start an execution: no workflow named "nowhere" '
        "(store it first: dray workflow apply FILE)",
        "node": "sub",
    }


# Time


def overdue(store: DriverStore, client: Client, sql: Sql, **graph: Any) -> str:
    """An execution that has run for an hour, and is queued: its timer was due."""
    client.apply_workflow("w", {**GRAPH, **graph})
    execution, incarnation = client.submit("w", queue="q"), register(store)
    assert claim(store, incarnation, queues=["q"]) == [execution]
    wait = outcome(execution, "n", '{"signal": "go"}', kind=Kind.WAITS_FOR_NEWS)
    store.commit(incarnation, [wait], [end(execution, "waiting", 0.0)])
    sql("UPDATE dray.execution SET started_at = started_at - interval '1 hour', wake_at = now()")
    store.wake_due(9)
    assert status(sql, execution) == "queued"
    return execution


@pytest.mark.parametrize(("graph", "fallback"), [({"timeout": 3000}, None), ({}, 3000.0), ({"timeout": 3000}, 9e9)])
def test_a_time_is_kept_while_the_queue_is_paused(
    store: DriverStore, client: Client, sql: Sql, graph: dict[str, Any], fallback: float | None
) -> None:
    execution = overdue(store, client, sql, **graph)
    assert store.end_overdue(["q"], fallback, 9) == 0, "whoever claims it finds out"
    client.pause_queue("q")
    assert store.end_overdue(["other"], fallback, 9) == 0
    assert store.end_overdue(["q"], fallback, 9) == 1
    found = client.get(execution)
    assert found.status == "failed"
    assert found.error is not None
    assert (found.error["type"], "3000 s" in found.error["message"]) == ("timeout", True)
    assert store.end_overdue(["q"], fallback, 9) == 0


def test_it_is_kept_before_a_limit_too(store: DriverStore, client: Client, sql: Sql) -> None:
    execution = overdue(store, client, sql, timeout=3000, limits={"concurrency": 1})
    assert sql("SELECT lane IS NOT NULL FROM dray.execution") == [(True,)]
    assert store.end_overdue(["q"], None, 9) == 1
    assert status(sql, execution) == "failed"


@pytest.mark.parametrize(("graph", "fallback"), [({"timeout": 9000}, None), ({}, None), ({}, 9000.0)])
def test_what_has_time_left_stays(
    store: DriverStore, client: Client, sql: Sql, graph: dict[str, Any], fallback: float | None
) -> None:
    execution = overdue(store, client, sql, **graph)
    client.pause_queue("q")
    assert store.end_overdue(["q"], fallback, 9) == 0
    assert status(sql, execution) == "queued"


def test_what_has_not_begun_has_all_its_time(store: DriverStore, client: Client, sql: Sql) -> None:
    client.apply_workflow("w", {**GRAPH, "timeout": 1})
    execution = client.submit("w", queue="q")
    sql("UPDATE dray.execution SET run_at = run_at - interval '1 hour'")
    client.pause_queue("q")
    assert store.end_overdue(["q"], 1.0, 9) == 0
    assert status(sql, execution) == "queued"


def test_a_parent_hears_of_it_and_what_is_below_goes_along(store: DriverStore, client: Client, sql: Sql) -> None:
    execution = overdue(store, client, sql, timeout=3000)
    parent, child = client.submit("w"), client.submit("w")
    sql("UPDATE dray.execution SET parent_id = %(p)s::uuid WHERE id = %(i)s::uuid", p=parent, i=execution)
    sql("UPDATE dray.execution SET parent_id = %(p)s::uuid WHERE id = %(i)s::uuid", p=execution, i=child)
    client.pause_queue("q")
    store.end_overdue(["q"], None, 9)
    assert status(sql, child) == "cancelled"
    assert sql("SELECT execution_id::text, mark FROM dray.pending_mark") == [(parent, "wake")]


def test_a_driver_keeps_it(store: DriverStore, client: Client) -> None:
    graph = {"nodes": [node("go", "wait_for_signal", signal_name="go")], "edges": [], "timeout": 2}
    client.apply_workflow("w", canonical(graph, HANDLERS))
    with driving(store):
        execution = client.submit("w")
        parked(client, execution)
        client.pause_queue("default")
        error = ended(client, execution, "failed").error
    assert error is not None
    assert error["type"] == "timeout"
