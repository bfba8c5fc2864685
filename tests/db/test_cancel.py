"""Cancel: in every status, and racing everything else that writes the row."""

from __future__ import annotations

import uuid

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore, claim_parameters
from dray.store.errors import ExecutionNotFound
from dray.store.queries import QUERIES
from tests.db.helpers import (
    QUEUES,
    Running,
    claimed,
    commit,
    end,
    expire,
    outcome,
    register,
    status,
    submitted,
    transaction,
    until_blocked,
)
from tests.pg import Sql

CANCEL = "SELECT dray.cancel(%s)"


def control(sql: Sql, execution: str) -> object:
    return sql("SELECT control FROM dray.execution WHERE id = %(id)s::uuid", id=execution)[0][0]


def test_what_nobody_holds_is_cancelled_at_once(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (waiting,) = claimed(store, client)
    store.commit(incarnation, [], [end(waiting.id, "waiting", 60)])
    queued, paused = submitted(client, 2)
    sql("UPDATE dray.execution SET status = 'paused' WHERE id = %(id)s::uuid", id=paused)
    for execution in (waiting.id, queued, paused):
        assert client.cancel(execution) == "cancelled"
        found = client.get(execution)
        assert (found.status, found.wake_at) == ("cancelled", None)
        assert found.finished_at is not None
    assert store.claim(incarnation, QUEUES, 9) == []


def test_what_runs_is_marked_and_its_driver_sees_it(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim, other) = claimed(store, client, 2)
    assert client.cancel(claim.id) == "cancelling"
    assert client.cancel(claim.id) == "cancelling"
    assert store.controls(incarnation) == [(claim.id, "cancel")]
    assert store.controls(register(store)) == []
    assert store.commit(incarnation, [], [end(claim.id, "cancelled"), end(other.id)]).settled == {claim.id, other.id}
    assert (status(sql, claim.id), control(sql, claim.id)) == ("cancelled", None)
    assert store.controls(incarnation) == []


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
def test_what_has_ended_stays_as_it_ended(store: DriverStore, client: Client, ending: str) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [], [end(claim.id, ending)])
    assert client.cancel(claim.id) == ending


def test_what_does_not_exist_is_said(client: Client) -> None:
    for nothing in (str(uuid.uuid4()), "no-id"):
        with pytest.raises(ExecutionNotFound, match=nothing):
            client.cancel(nothing)


def test_a_cancel_that_waited_for_a_claim_marks_the_running_execution(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    (execution,) = submitted(client)
    incarnation = register(store)
    with transaction(database) as claim:
        claim.execute(QUERIES["claim_if_fenced"], claim_parameters(incarnation, QUEUES, 1))
        cancelling = Running(lambda: client.cancel(execution))
        until_blocked(sql)
        commit(claim)
    assert cancelling.result() == "cancelling"
    assert store.controls(incarnation) == [(execution, "cancel")]


def test_a_claim_skips_what_is_being_cancelled(store: DriverStore, client: Client, sql: Sql, database: str) -> None:
    first, second = submitted(client, 2)
    incarnation = register(store)
    with transaction(database) as cancel:
        cancel.execute(CANCEL, (first,))
        assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [second]
        commit(cancel)
    assert status(sql, first) == "cancelled"


@pytest.mark.parametrize(
    ("asked", "becomes"),
    [("completed", "completed"), ("failed", "failed"), ("waiting", "cancelled"), ("queued", "cancelled")],
)
def test_a_settlement_that_waited_for_a_cancel(
    store: DriverStore, client: Client, sql: Sql, database: str, asked: str, becomes: str
) -> None:
    """An end that is reached stays an end; a park is none, so it is cancelled instead."""
    incarnation, (claim,) = claimed(store, client)
    with transaction(database) as cancel:
        cancel.execute(CANCEL, (claim.id,))
        assert store.commit(incarnation, [outcome(claim.id)], [end(claim.id, asked, 60)]).settled == set()
        commit(cancel)
    assert store.commit(incarnation, [], [end(claim.id, asked, 60)]).settled == {claim.id}
    found = client.get(claim.id)
    assert (found.status, found.wake_at) == (becomes, None)
    assert found.finished_at is not None
    assert control(sql, claim.id) is None
    assert [each.node_key for each in client.attempts(claim.id)] == ["a"]


def test_a_cancel_that_waited_for_the_end_gives_that_end(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    _, (claim,) = claimed(store, client)
    with transaction(database) as finish:
        finish.execute(
            "UPDATE dray.execution SET status = 'completed', owner = NULL, finished_at = now() WHERE id = %s",
            (claim.id,),
        )
        cancelling = Running(lambda: client.cancel(claim.id))
        until_blocked(sql)
        commit(finish)
    assert cancelling.result() == "completed"
    assert status(sql, claim.id) == "completed"


def test_outcomes_of_what_is_being_cancelled_are_still_recorded(store: DriverStore, client: Client) -> None:
    incarnation, (claim,) = claimed(store, client)
    client.cancel(claim.id)
    store.commit(incarnation, [outcome(claim.id)], [])
    assert [each.node_key for each in client.attempts(claim.id)] == ["a"]


def test_a_cancelled_execution_of_a_dead_driver_is_not_requeued(store: DriverStore, client: Client, sql: Sql) -> None:
    late, (cancelled, other) = claimed(store, client, 2)
    client.cancel(cancelled.id)
    expire(sql, late)
    store.reap()
    assert (status(sql, cancelled.id), status(sql, other.id)) == ("cancelled", "queued")
    assert client.get(cancelled.id).finished_at is not None


def test_neither_is_one_of_a_driver_that_stops(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (cancelled, other) = claimed(store, client, 2)
    client.cancel(cancelled.id)
    store.release(incarnation)
    assert (status(sql, cancelled.id), status(sql, other.id)) == ("cancelled", "queued")


def test_a_cancel_inside_a_transaction_that_rolls_back_never_was(client: Client, sql: Sql, database: str) -> None:
    (execution,) = submitted(client)
    with transaction(database) as cancel:
        cancel.execute(CANCEL, (execution,))
        assert cancel.fetchone() == ("cancelled",)
    assert status(sql, execution) == "queued"
