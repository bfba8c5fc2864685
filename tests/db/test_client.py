"""The client: every method, every error, and in one line what to do."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import (
    DatabaseURLInvalid,
    DataRefused,
    ExecutionNotFound,
    Unavailable,
    WaitTimeout,
    WorkflowNotFound,
)
from tests.db.helpers import GRAPH, QUEUES, Running, claimed, end, expire, outcome, register, status, submitted
from tests.pg import Sql, at

UNKNOWN = str(uuid.uuid4())


def test_get_gives_everything_of_an_execution(store: DriverStore, client: Client) -> None:
    client.apply_workflow("w", GRAPH)
    execution = client.submit("w", {"n": [1]}, priority=7, queue="fast", labels={"customer": "17"})
    driver = register(store)
    store.claim(driver, ["fast"], 9)
    store.commit(driver, [outcome(execution, "b", '{"out": 1}')], [end(execution)])
    found = client.get(execution)
    assert (found.id, found.workflow, found.version, found.status) == (execution, "w", 1, "completed")
    assert (found.priority, found.queue, found.labels) == (7, "fast", {"customer": "17"})
    assert (found.input, found.output, found.error) == ({"n": [1]}, {"out": 1}, None)
    assert (found.claim_count, found.crash_count, found.wake_at) == (1, 0, None)
    assert found.started_at is not None and found.finished_at is not None
    assert found.created_at <= found.started_at <= found.finished_at
    assert all(each.tzinfo is not None for each in (found.created_at, found.run_at, found.started_at))


def test_what_does_not_exist_is_said_by_each_method(client: Client) -> None:
    for call in (client.get, client.cancel, client.wait, lambda each: client.signal(each, "go")):
        for nothing in (UNKNOWN, "no-id", "", None):
            with pytest.raises(ExecutionNotFound) as caught:
                call(nothing)  # type: ignore[arg-type]
            assert "\n" not in str(caught.value)
    assert client.attempts(UNKNOWN) == []
    with pytest.raises(ExecutionNotFound):
        client.attempts("no-id")
    with pytest.raises(WorkflowNotFound, match="nope"):
        client.workflow("nope")


def test_an_id_may_be_written_in_any_form(client: Client) -> None:
    (execution,) = submitted(client)
    assert client.get(execution.upper().replace("-", "")).id == execution


def test_wait_ends_with_the_execution(store: DriverStore, client: Client) -> None:
    driver, (claim,) = claimed(store, client)
    waiting = Running(lambda: client.wait(claim.id, timeout=30))
    store.commit(driver, [outcome(claim.id, "b")], [end(claim.id)])
    assert waiting.result().output == {"x": 1}
    assert client.wait(claim.id, timeout=0).status == "completed"


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_wait_gives_any_end(store: DriverStore, client: Client, ending: str) -> None:
    driver, (claim,) = claimed(store, client)
    store.commit(driver, [], [end(claim.id, ending)])
    assert client.wait(claim.id).status == ending


def test_wait_says_how_things_stood_when_its_time_was_over(client: Client) -> None:
    (execution,) = submitted(client)
    for timeout in (0, 0.02, -1):
        with pytest.raises(WaitTimeout, match="queued"):
            client.wait(execution, timeout=timeout)


def test_the_list_is_filtered_and_goes_on_where_it_ended(store: DriverStore, client: Client) -> None:
    first = submitted(client, 3, labels={"a": 1, "b": 2})
    client.apply_workflow("other", GRAPH)
    second = client.submit_many("other", [1, 2], labels={"a": 1})
    client.cancel(first[1])
    newest = [*second[::-1], *first[::-1]]
    assert [each.id for each in client.list()] == newest
    assert [each.id for each in client.list(workflow="w")] == first[::-1]
    assert [each.id for each in client.list(status="cancelled")] == [first[1]]
    assert [each.id for each in client.list(labels={"a": 1}, limit=3)] == newest[:3]
    assert [each.id for each in client.list(labels={"b": 2, "a": 1})] == first[::-1]
    assert [each.id for each in client.list(limit=2, before=newest[1])] == newest[2:4]
    assert client.list(workflow="w", status="queued", labels={"a": 2}) == []
    assert client.list(status="no-such") == []
    assert {(each.input, each.output) for each in client.list()} == {(None, None)}
    with pytest.raises(ExecutionNotFound):
        client.list(before="no-id")


def test_the_same_graph_makes_no_new_version(client: Client) -> None:
    first = client.apply_workflow("w", GRAPH)
    assert first[1:] == (1, True)
    assert client.apply_workflow("w", {key: GRAPH[key] for key in reversed(GRAPH)}) == (first[0], 1, False)
    other = {**GRAPH, "edges": []}
    assert client.apply_workflow("w", other)[1:] == (2, True)
    assert client.apply_workflow("w", GRAPH)[1:] == (3, True)  # back to an older graph is a step forward
    assert client.apply_workflow("v", GRAPH)[1:] == (1, True)
    assert [(each.name, each.version) for each in client.workflows()] == [("v", 1), ("w", 3)]
    assert client.workflow("w").graph == GRAPH
    assert client.workflow("w", 2).graph == other
    with pytest.raises(WorkflowNotFound, match="9"):
        client.workflow("w", 9)
    with pytest.raises(DataRefused):
        client.apply_workflow("w", {"format": 1, "nodes": [{"id": "\x00"}], "edges": []})


def test_two_that_apply_at_once_make_two_versions_or_one(client: Client) -> None:
    both = [Running(lambda: client.apply_workflow("w", GRAPH)) for _ in range(4)]
    assert sorted(each.result()[1:] for each in both) == [(1, False)] * 3 + [(1, True)]
    graphs = [{**GRAPH, "edges": [{"from": "a", "to": f"x{n}"}]} for n in range(4)]
    many = [Running(lambda graph=graph: client.apply_workflow("w", graph)) for graph in graphs]
    assert sorted(each.result()[1] for each in many) == [2, 3, 4, 5]


def test_the_ends_of_a_graph_are_the_nodes_that_no_edge_leaves(client: Client, sql: Sql) -> None:
    nodes = [{"id": each} for each in "abcd"]
    client.apply_workflow(
        "w", {"format": 1, "nodes": nodes, "edges": [{"from": "a", "to": "b"}, {"from": "a", "to": "c"}]}
    )
    assert sql("SELECT ARRAY(SELECT unnest(ends) ORDER BY 1) FROM dray.workflow") == [(["b", "c", "d"],)]


def test_stats_count_by_queue_and_status_and_show_the_drivers(store: DriverStore, client: Client, sql: Sql) -> None:
    assert client.stats() == {"queues": {}, "oldest_queued_seconds": {}, "open": {}, "drivers": []}
    submitted(client, 3)
    submitted(client, 1, queue="slow")
    driver, late = register(store, ttl=100), register(store)
    store.claim(driver, QUEUES, 2)
    expire(sql, late)
    sql("UPDATE dray.execution SET run_at = now() - interval '1 hour' WHERE queue = 'slow'")
    found = client.stats()
    assert found["queues"] == {"default": {"queued": 1, "running": 2}, "slow": {"queued": 1}}
    assert found["oldest_queued_seconds"]["slow"] >= 3600 > found["oldest_queued_seconds"]["default"]
    shown = {each["id"]: each for each in found["drivers"]}
    assert (shown[driver]["executions"], shown[driver]["host"], shown[driver]["pid"]) == (2, "here", 1)
    assert 0 < shown[driver]["lease_seconds"] <= 100
    assert shown[late]["lease_seconds"] < 0
    assert isinstance(shown[driver]["started_at"], datetime)


def test_a_connection_of_the_callers_sees_its_own_transaction(engine: Engine, client: Client, sql: Sql) -> None:
    client.apply_workflow("w", GRAPH)
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        inside = Client(connection)
        execution = inside.submit("w", {"n": 1})
        assert inside.signal(execution, "go") is True
        assert [each.id for each in inside.list()] == [execution]
        assert inside.cancel(execution) == "cancelled"
        assert inside.wait(execution, timeout=0).status == "cancelled"
        assert client.list() == []
        inside.close()  # leaves the caller's connection alone
        connection.commit()
    assert status(sql, execution) == "cancelled"
    assert client.get(execution).created_at <= datetime.now(UTC)


def test_a_client_of_a_url_closes_what_it_opened(database: str, sql: Sql) -> None:
    with Client(database) as client:
        client.apply_workflow("w", GRAPH)
        mine = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dray client'"
        assert sql(mine) == [(1,)]
    for _ in range(500):
        if sql(mine) == [(0,)]:
            return
        sql("SELECT pg_sleep(0.01)")
    raise AssertionError("its connection is still open")


def test_an_engine_that_was_given_is_left_open(engine: Engine, client: Client) -> None:
    with Client(engine) as other:
        other.workflows()
    assert client.workflows() == []


def test_without_a_url_the_environment_says_which(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRAY_DATABASE_URL", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(DatabaseURLInvalid, match="DRAY_DATABASE_URL"):
        Client()
    monkeypatch.setenv("DATABASE_URL", at(database, "nowhere"))
    monkeypatch.setenv("DRAY_DATABASE_URL", database)
    with Client() as client:
        assert client.workflows() == []


def test_a_database_that_is_not_there_is_unavailable() -> None:
    with Client("postgresql://nobody:secret@127.0.0.1:1/x") as client, pytest.raises(Unavailable) as caught:
        client.workflows()
    assert "secret" not in str(caught.value)


def test_a_client_that_sat_idle_while_its_connection_died_just_works(database: str, sql: Sql) -> None:
    with Client(database) as client:
        client.workflows()
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dray client'")
        assert client.workflows() == []
