"""The claim: each execution to one driver, the right ones first, none forgotten."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore, claim_parameters
from dray.store.errors import Unavailable
from dray.store.queries import QUERIES
from dray.store.records import Kind
from tests.db.helpers import QUEUES, claimed, commit, end, expire, outcome, register, status, submitted, transaction
from tests.pg import Sql

CLAIM = QUERIES["claim_if_fenced"]


def test_a_claim_gives_all_that_is_needed_to_start(store: DriverStore, client: Client, sql: Sql) -> None:
    (execution,) = submitted(client)
    incarnation = register(store)
    (claim,) = store.claim(incarnation, QUEUES, 9)
    assert claim._replace(age=0) == (execution, 1, 1, 0, 0, '{"n": 0}', None)
    assert 0 <= claim.age < 30
    assert [each.graph["nodes"] for each in store.load_workflows([claim.workflow_id])] == [[{"id": "a"}, {"id": "b"}]]
    assert sql("SELECT owner::text, started_at IS NOT NULL FROM dray.execution") == [(incarnation, True)]


def test_age_goes_on_from_the_first_start(store: DriverStore, client: Client, sql: Sql) -> None:
    submitted(client)
    first = register(store)
    store.claim(first, QUEUES, 9)
    sql("UPDATE dray.execution SET started_at = started_at - interval '1 hour'")
    store.release(first)
    (claim,) = store.claim(register(store), QUEUES, 9)
    assert claim.age > 3600
    assert claim.claim_count == 2


def test_nothing_queued_is_no_lost_lease(store: DriverStore) -> None:
    assert store.claim(register(store), QUEUES, 9) == []


def test_a_claim_skips_what_another_claim_is_taking(store: DriverStore, client: Client, database: str) -> None:
    executions = submitted(client, 10)
    first, second = register(store), register(store)
    with transaction(database) as cursor:
        cursor.execute(CLAIM, claim_parameters(first, QUEUES, 4))
        taken = {row[1] for row in cursor.fetchall()}
        assert len(taken) == 4
        others = {each.id for each in store.claim(second, QUEUES, 10)}
        assert others == set(executions) - taken
        commit(cursor)
    assert store.claim(second, QUEUES, 10) == []


def test_what_a_rolled_back_claim_took_is_there_for_the_next(store: DriverStore, client: Client, database: str) -> None:
    submitted(client, 3)
    first = register(store)
    with transaction(database) as cursor:
        cursor.execute(CLAIM, claim_parameters(first, QUEUES, 9))
    assert {each.claim_count for each in store.claim(first, QUEUES, 9)} == {1}


def test_many_claims_at_once_never_take_the_same(engine: Engine, client: Client, sql: Sql) -> None:
    executions = submitted(client, 400)
    taken: list[list[str]] = [[] for _ in range(6)]
    start = threading.Barrier(len(taken))

    def take(mine: list[str]) -> None:
        store = DriverStore(engine)
        incarnation = register(store)
        start.wait(30)
        while found := store.claim(incarnation, QUEUES, 7):
            mine += [each.id for each in found]

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    rest = store_rest(engine)  # a claim that met only rows of others may end with some left
    assert sorted(sum(taken, rest)) == sorted(executions)
    assert sql("SELECT DISTINCT claim_count, status FROM dray.execution") == [(1, "running")]


def store_rest(engine: Engine) -> list[str]:
    store = DriverStore(engine)
    return [each.id for each in store.claim(register(store), QUEUES, 1000)]


def test_the_limit_and_the_queues_are_kept(store: DriverStore, client: Client) -> None:
    slow = submitted(client, 3, queue="slow")
    fast = submitted(client, 3, queue="fast")
    other = submitted(client, 3, queue="other")
    incarnation = register(store)
    assert len(store.claim(incarnation, ["slow", "fast"], 4)) == 4
    assert len(store.claim(incarnation, ["slow", "fast"], 9)) == 2
    assert store.claim(incarnation, ["slow", "fast", "none"], 9) == []
    assert {client.get(each).status for each in slow + fast} == {"running"}
    assert {client.get(each).status for each in other} == {"queued"}


def test_a_queue_that_is_named_twice_gives_each_execution_once(store: DriverStore, client: Client) -> None:
    executions = submitted(client, 3)
    found = store.claim(register(store), ["default", "default"], 9)
    assert sorted(each.id for each in found) == sorted(executions)


def test_the_higher_priority_first_then_the_longest_waiting_across_queues(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    low = submitted(client, 2, priority=1)
    normal = submitted(client, 2, queue="other")
    high = submitted(client, 2, priority=9)
    sql("UPDATE dray.execution SET rank = rank - interval '1 minute' WHERE id = %(id)s::uuid", id=normal[1])
    incarnation = register(store)

    def next_of(count: int) -> set[str]:
        return {each.id for each in store.claim(incarnation, ["default", "other"], count)}

    assert next_of(2) == set(high)
    assert next_of(1) == {normal[1]}
    assert next_of(1) == {normal[0]}
    assert next_of(9) == set(low)


def test_a_run_at_in_the_future_waits_until_it_is_due(store: DriverStore, client: Client, sql: Sql) -> None:
    submitted(client, 0)
    later = client.submit("w", run_at=datetime.now(UTC) + timedelta(hours=1))
    past = client.submit("w", run_at=datetime.now(UTC) - timedelta(hours=1))
    incarnation = register(store)
    assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [past]
    woken, following = store.wake_due(9)
    assert woken == 0
    assert following is not None
    assert 3500 < following <= 3600
    sql("UPDATE dray.execution SET run_at = now(), wake_at = now() WHERE id = %(id)s::uuid", id=later)
    assert store.wake_due(9) == (1, None)
    assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [later]


def test_checkpoints_are_loaded_in_the_order_of_the_attempts(store: DriverStore, client: Client) -> None:
    first, second = submitted(client, 2)
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 9)
    store.commit(
        incarnation,
        [
            outcome(first, "a", '{"type": "E"}', 1, kind=Kind.RETRIED, wait=60.0),
            outcome(first, "a", '"b"', 2, branch="yes"),
            outcome(first, "b", None, 1, kind=Kind.WAITS_FOR_TIME, wait=-60.0),
            outcome(second, "a", "1"),
        ],
        [],
    )
    found = store.load_checkpoints([second, first])
    assert [each[1:6] for each in found if each.execution_id == first] == [
        ("a", 1, Kind.RETRIED, None, '{"type": "E"}'),
        ("a", 2, Kind.COMPLETED, "yes", '"b"'),
        ("b", 1, Kind.WAITS_FOR_TIME, None, None),
    ]
    waits = [each.wait for each in found if each.execution_id == first]
    assert waits[0] is not None and 50 < waits[0] <= 60
    assert waits[1] is None
    assert waits[2] is not None and waits[2] <= -60
    assert [each[1:6] for each in found if each.execution_id == second] == [("a", 1, Kind.COMPLETED, None, "1")]
    assert store.load_checkpoints([]) == []


class LosesAnswers(DriverStore):
    """Whose next claim is made, and its answer lost."""

    losing = False

    def _ask(self, name: str, given: Mapping[str, Any]) -> list[Any]:
        answer = super()._ask(name, given)
        if self.losing and name == "claim_if_fenced":
            self.losing = False
            raise Unavailable("server closed the connection unexpectedly")
        return answer


def test_what_a_claim_took_whose_answer_was_lost_is_given_by_the_next(engine: Engine, client: Client, sql: Sql) -> None:
    known, unheard = submitted(client), submitted(client, 3)
    store = LosesAnswers(engine)
    incarnation = register(store)
    assert [each.id for each in store.claim(incarnation, QUEUES, 1)] == known
    store.losing = True
    with pytest.raises(Unavailable):
        store.claim(incarnation, QUEUES, 3)
    assert status(sql, unheard[0]) == "running"
    first = store.claim(incarnation, QUEUES, 2)
    second = store.claim(incarnation, QUEUES, 2)
    assert [each.id for each in first + second] == unheard
    assert {(each.claim_count, each.input is None) for each in first + second} == {(2, False)}, "by a new claim"
    assert store.claim(incarnation, QUEUES, 2) == []
    assert store.commit(incarnation, [], [end(each) for each in unheard]).settled == set(unheard)


def test_what_was_settled_and_claimed_again_is_not_taken_for_unheard(engine: Engine, client: Client) -> None:
    (execution,) = submitted(client)
    store = LosesAnswers(engine)
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 9)
    store.losing = True
    with pytest.raises(Unavailable):
        store.claim(incarnation, QUEUES, 9)
    assert store.claim(incarnation, QUEUES, 9) == []
    store.commit(incarnation, [], [end(execution, "queued")])
    assert [each.claim_count for each in store.claim(incarnation, QUEUES, 9)] == [2]
    assert store.claim(incarnation, QUEUES, 9) == []


def test_a_commit_repeated_after_a_lost_answer_leaves_a_new_claim_of_its_incarnation_alone(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    incarnation, (first,) = claimed(store, client)
    park = end(first.id, "waiting", 0.0)._replace(claim=first.claim_count)
    assert store.commit(incarnation, [outcome(first.id, kind=Kind.RETRIED, wait=0.0)], [park]).settled == {first.id}
    assert store.wake_due(9)[0] == 1
    (second,) = store.claim(incarnation, QUEUES, 9)
    assert store.commit(incarnation, [outcome(first.id, kind=Kind.RETRIED, wait=0.0)], [park]).settled == frozenset()
    assert status(sql, first.id) == "running"
    assert store._claim_unheard(incarnation, 9) == [], "it is held"
    assert store.commit(incarnation, [], [end(first.id)._replace(claim=second.claim_count)]).settled == {first.id}


def test_an_execution_that_came_back_from_a_reap_is_claimed_once_more(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    (execution,) = submitted(client)
    late = register(store)
    store.claim(late, QUEUES, 9)
    store.commit(late, [outcome(execution)], [])
    expire(sql, late)
    store.reap()
    (claim,) = store.claim(register(store), QUEUES, 9)
    assert (claim.id, claim.claim_count, claim.crash_count) == (execution, 2, 1)
    assert [each.node_key for each in store.load_checkpoints([execution])] == ["a"]
