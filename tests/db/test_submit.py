"""Submit: once, with the caller's transaction or not at all."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused, ExecutionNotFound, StoreError, WorkflowNotFound
from tests.db.helpers import GRAPH, Running, commit, register, submitted, transaction, until_blocked
from tests.pg import Sql

TABLES = ("execution", "execution_input", "idempotency")


@pytest.fixture(autouse=True)
def workflow(client: Client) -> None:
    client.apply_workflow("w", GRAPH)


def counts(sql: Sql) -> dict[str, int]:
    return {each: sql(f"SELECT count(*) FROM dray.{each}")[0][0] for each in TABLES}


NOTHING = dict.fromkeys(TABLES, 0)


def test_two_submitters_at_once_with_one_key_get_one_execution(client: Client, sql: Sql, database: str) -> None:
    with transaction(database) as first:
        first.execute("SELECT dray.submit('w', '{}', idempotency_key => 'k')::text")
        (execution,) = first.fetchone()
        second = Running(lambda: client.submit("w", idempotency_key="k"))
        until_blocked(sql)
        commit(first)
    assert second.result() == execution
    assert counts(sql) == {"execution": 1, "execution_input": 1, "idempotency": 1}


def test_the_second_goes_on_where_the_first_rolls_back(client: Client, sql: Sql, database: str) -> None:
    with transaction(database) as first:
        first.execute("SELECT dray.submit('w', '{}', idempotency_key => 'k')::text")
        (execution,) = first.fetchone()
        second = Running(lambda: client.submit("w", idempotency_key="k"))
        until_blocked(sql)
        first.connection.rollback()
    assert second.result() != execution
    assert counts(sql) == {"execution": 1, "execution_input": 1, "idempotency": 1}


def test_twenty_at_once_get_the_same_id(client: Client, sql: Sql) -> None:
    start = threading.Barrier(10)

    def submit() -> str:
        start.wait(30)
        return client.submit("w", idempotency_key="k")

    assert len({each.result() for each in [Running(submit) for _ in range(10)]}) == 1
    assert counts(sql)["execution"] == 1


def test_a_key_belongs_to_its_workflow_and_outlives_a_new_version(client: Client) -> None:
    client.apply_workflow("other", GRAPH)
    first = client.submit("w", {"n": 1}, idempotency_key="k")
    assert client.submit("other", idempotency_key="k") != first
    client.apply_workflow("w", {**GRAPH, "edges": []})
    assert client.submit("w", {"n": 2}, idempotency_key="k") == first
    assert client.get(first).input == {"n": 1}


def test_submits_in_a_transaction_that_rolls_back_leave_nothing(engine: Engine, sql: Sql) -> None:
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        inside = Client(connection)
        with connection.begin() as begun:
            execution = inside.submit("w", {"n": 1}, idempotency_key="k")
            assert len(inside.submit_many("w", range(50))) == 50
            assert inside.get(execution).input == {"n": 1}
            begun.rollback()
        assert counts(sql) == NOTHING
        with connection.begin():
            again = inside.submit("w", {"n": 1}, idempotency_key="k")
    assert again != execution
    assert counts(sql) == {"execution": 1, "execution_input": 1, "idempotency": 1}


def test_any_engine_of_the_callers_will_do(database: str, client: Client) -> None:
    engine = create_engine(database)
    with engine.begin() as connection:
        (execution,) = Client(connection).submit_many("w", [{"n": 1}])
        with pytest.raises(ExecutionNotFound):
            client.get(execution)
    assert client.get(execution).input == {"n": 1}
    with engine.connect() as connection, pytest.raises(WorkflowNotFound, match="nope"):
        Client(connection).submit("nope")
    engine.dispose()


def test_an_error_in_the_callers_transaction_is_a_store_error(engine: Engine) -> None:
    plain = create_engine(engine.url)
    with plain.connect() as connection:
        inside = Client(connection)
        with pytest.raises(DataRefused):
            inside.submit("w", priority=40_000)
        with pytest.raises(StoreError, match="aborted"):
            inside.submit("w")
    plain.dispose()


def test_a_version_that_is_stored_meanwhile_is_not_used(client: Client, sql: Sql) -> None:
    first = client.submit("w")
    client.apply_workflow("w", {**GRAPH, "edges": []})
    assert [client.get(each).version for each in (first, client.submit("w"))] == [1, 2]


def test_ids_are_in_the_order_of_the_inputs_and_of_version_7(client: Client) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=2)
    ids = client.submit_many("w", [{"n": n} for n in range(2000)])
    assert ids == sorted(ids)
    assert len(set(ids)) == 2000
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {(7, uuid.RFC_4122)}
    assert [client.get(each).input["n"] for each in ids[::500]] == [0, 500, 1000, 1500]
    assert before < client.get(ids[0]).created_at < datetime.now(UTC) + timedelta(milliseconds=2)


def test_the_defaults(client: Client, sql: Sql) -> None:
    found = client.get(client.submit("w"))
    assert (found.status, found.priority, found.queue, found.input, found.labels) == ("queued", 5, "default", {}, None)
    assert (found.started_at, found.finished_at, found.wake_at, found.error, found.output) == (None,) * 5
    assert (found.claim_count, found.crash_count, found.workflow, found.version) == (0, 0, "w", 1)


@pytest.mark.parametrize("value", [0, False, "", [], [1], "text", 1.5])
def test_any_json_value_is_an_input(client: Client, value: Any) -> None:
    assert client.get(client.submit("w", value)).input == value
    assert client.get(client.submit_many("w", [value])[0]).input == value


def test_no_inputs_make_no_executions(client: Client, sql: Sql) -> None:
    assert client.submit_many("w", []) == []
    assert sql("SELECT * FROM dray.submit_many('w', '{}'::jsonb[])") == []
    assert sql("SELECT * FROM dray.submit_many('w', NULL)") == []
    assert counts(sql) == NOTHING


@pytest.mark.parametrize(
    "given",
    [
        {"input": {"n": float("nan")}},
        {"input": {"n": {object()}}},
        {"input": "a\x00b"},
        {"input": "\ud800"},
        {"priority": 40_000},
        {"labels": {"a": object()}},
        {"queue": "a\x00"},
        {"queue": None},
        {"priority": "urgent"},
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(client: Client, sql: Sql, given: dict[str, Any]) -> None:
    with pytest.raises(DataRefused):
        client.submit("w", **given, idempotency_key="k")
    given["inputs"] = [1, given.pop("input", 2), 3]
    with pytest.raises(DataRefused):
        client.submit_many("w", **given)
    assert counts(sql) == NOTHING


def test_an_endless_run_at_is_refused(sql: Sql) -> None:
    for endless in ("infinity", "-infinity"):
        with pytest.raises(DataRefused, match=rf"run_at is {endless} \(give a time"):
            sql("SELECT dray.submit('w', run_at => %(at)s)", at=endless)
    assert counts(sql) == NOTHING


def test_an_unknown_workflow_is_said_with_what_to_do(client: Client, sql: Sql) -> None:
    for call in (lambda: client.submit("nope", idempotency_key="k"), lambda: client.submit_many("nope", [1])):
        with pytest.raises(WorkflowNotFound, match="nope"):
            call()
    with pytest.raises(StoreError, match="dray workflow apply"):
        sql("SELECT dray.submit('nope')")
    assert counts(sql) == NOTHING


def test_a_time_without_a_zone_is_local_time(client: Client) -> None:
    later = datetime.now() + timedelta(hours=1)  # noqa: DTZ005
    found = client.get(client.submit("w", run_at=later))
    assert found.status == "waiting"
    assert found.run_at == found.wake_at == later.astimezone()


def test_a_driver_that_listens_is_notified_and_no_other(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    incarnation = register(store)
    with transaction(database) as listener:
        listener.execute("LISTEN dray")
        commit(listener)

        def heard() -> int:
            listener.execute("SELECT 1")  # a round trip brings what is there
            commit(listener)
            listener.connection.poll()
            found = len(listener.connection.notifies)
            listener.connection.notifies.clear()
            return found

        client.submit("w")
        assert heard() == 0
        store.set_listening(incarnation, True)
        client.submit("w")
        client.submit_many("w", [1, 2])
        assert heard() == 2
        store.set_listening(incarnation, False)
        submitted(client)
        assert heard() == 0
