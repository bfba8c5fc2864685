"""The group commit: all or nothing, once, and every value that JSON and PostgreSQL both know."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused, Unavailable
from dray.store.queries import QUERIES
from tests.db.helpers import (
    Running,
    claimed,
    commit,
    commit_given,
    end,
    expire,
    outcome,
    status,
    transaction,
    until_blocked,
)
from tests.pg import Sql


def count(sql: Sql) -> int:
    return int(sql("SELECT count(*) FROM dray.checkpoint")[0][0])


def test_outcomes_and_the_end_are_recorded_together(store: DriverStore, client: Client) -> None:
    incarnation, claims = claimed(store, client, 3)
    runner = store.register_runner(incarnation, "ray-node", "there", 77, "dray-runner-1")
    outcomes = [outcome(each.id, node, runner=runner, duration_ms=12) for each in claims for node in ("a", "b")]
    ended = [end(claims[0].id), end(claims[1].id, "failed")]
    assert store.commit(incarnation, outcomes, ended).settled == {claims[0].id, claims[1].id}
    assert [client.get(each.id).status for each in claims] == ["completed", "failed", "running"]
    assert client.get(claims[1].id).error == {"type": "x", "message": "y"}
    found = client.attempts(claims[2].id)
    assert [(each.node_key, each.attempt, each.kind, each.outcome) for each in found] == [
        ("a", 1, "completed", {"x": 1}),
        ("b", 1, "completed", {"x": 1}),
    ]
    assert {(e.runner, e.ray_node, e.host, e.pid, e.duration_ms) for e in found} == {
        ("dray-runner-1", "ray-node", "there", 77, 12)
    }


def test_nothing_to_commit_is_only_a_look_at_the_lease(store: DriverStore, client: Client) -> None:
    incarnation, _ = claimed(store, client)
    assert store.commit(incarnation, [], []).settled == frozenset()


def test_a_commit_repeated_after_a_lost_answer_changes_nothing(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (first, second) = claimed(store, client, 2)
    outcomes, ended = [outcome(first.id), outcome(second.id)], [end(first.id), end(second.id, "waiting", 60)]
    assert store.commit(incarnation, outcomes, ended).settled == {first.id, second.id}
    everything = (
        "SELECT e::text, c::text FROM dray.execution e JOIN dray.checkpoint c ON c.execution_id = e.id ORDER BY 1"
    )
    before = sql(everything)
    assert store.commit(incarnation, outcomes, ended).settled == frozenset()
    assert sql(everything) == before


def test_a_repeated_commit_still_records_what_is_new_in_it(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [outcome(claim.id, "a", '"first"')], [])
    assert store.commit(incarnation, [outcome(claim.id, "a", '"again"'), outcome(claim.id, "b")], [end(claim.id)])
    assert [(each.node_key, each.outcome) for each in client.attempts(claim.id)] == [("a", "first"), ("b", {"x": 1})]
    assert status(sql, claim.id) == "completed"


def test_a_repetition_waits_for_the_first_one_where_that_is_still_under_way(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    """Its connection broke on our side, and the server goes on with it."""
    incarnation, (claim,) = claimed(store, client)
    with transaction(database) as first:
        given = commit_given(incarnation, [outcome(claim.id, text="1")], [end(claim.id)])
        first.execute(QUERIES["commit_if_fenced"], given)
        again = Running(lambda: store.commit(incarnation, [outcome(claim.id, text="1")], [end(claim.id)]))
        until_blocked(sql)
        commit(first)
    assert again.result().settled == frozenset()
    assert status(sql, claim.id) == "completed"
    assert count(sql) == 1


@pytest.mark.parametrize(
    "bad",
    [
        '"\\u0000"',  # NUL
        '"\\ud800"',  # half a surrogate pair, escaped
        '"\ud800"',  # and bare
        '"\x00"',
        "1e200000",  # past what numeric holds
        "NaN",
        "{",
        "",
        "[" * 20_000 + "]" * 20_000,
        '{"a": tru}',
    ],
)
def test_a_value_that_is_no_jsonb_refuses_the_whole_commit(
    store: DriverStore, client: Client, sql: Sql, bad: str
) -> None:
    incarnation, (first, second) = claimed(store, client, 2)
    with pytest.raises(DataRefused):
        store.commit(incarnation, [outcome(first.id), outcome(second.id, text=bad)], [end(first.id), end(second.id)])
    assert count(sql) == 0
    assert (status(sql, first.id), status(sql, second.id)) == ("running", "running")
    assert store.commit(incarnation, [outcome(first.id)], [end(first.id)]).settled == {
        first.id
    }  # the connection is sound


@pytest.mark.parametrize(
    "bad",
    [
        {"node_key": "a\x00"},
        {"branch": "\x00"},
        {"attempt": 3_000_000_000},  # integer
        {"runner": 2**31},
        {"kind": "x"},
        {"kind": None},
        {"node_key": "n" * 9_000 + "".join(chr(256 + i % 7919) for i in range(9_000))},  # too long for an index entry
    ],
)
def test_so_does_any_other_value_that_its_column_cannot_hold(
    store: DriverStore, client: Client, sql: Sql, bad: dict[str, Any]
) -> None:
    incarnation, (claim,) = claimed(store, client)
    with pytest.raises(DataRefused):
        store.commit(incarnation, [outcome(claim.id, "b"), outcome(claim.id, **bad)], [end(claim.id)])
    assert count(sql) == 0
    assert status(sql, claim.id) == "running"


@pytest.mark.parametrize("unknown", ["done", "running", None])
def test_a_status_that_ends_no_claim_is_refused(store: DriverStore, client: Client, sql: Sql, unknown: Any) -> None:
    incarnation, (claim,) = claimed(store, client)
    with pytest.raises(DataRefused):
        store.commit(incarnation, [outcome(claim.id)], [end(claim.id, unknown)])
    assert count(sql) == 0


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -0.0,
        1.7976931348623157e308,
        5e-324,
        2**70,
        "",
        "%s %(x)s %% \\ ' \" {} $1 ? :name",
        "{1,2}",
        "NULL",
        "\u007f\u0080\ufeff\U0010ffff \r\n\t",
        "é" * 10_000,
        [],
        {},
        {"": {"a b": [None, [], {}, "NULL"]}},
        [[1, "2", [3.5]]] * 500,
    ],
)
def test_every_json_value_comes_back_as_it_went(store: DriverStore, client: Client, value: Any) -> None:
    incarnation, (claim,) = claimed(store, client)
    text = json.dumps(value, ensure_ascii=False)
    key = "loop[3]/each[17]/it's %s"
    store.commit(incarnation, [outcome(claim.id, key, text, branch='it\'s \\ "so" {a,b} %')], [])
    (found,) = store.load_checkpoints([claim.id])
    assert (found.node_key, found.branch) == (key, 'it\'s \\ "so" {a,b} %')
    assert found.outcome is not None
    back = json.loads(found.outcome)
    assert math.isclose(back, value) if isinstance(value, float) else back == value


def test_a_thousand_outcomes_are_one_commit(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, claims = claimed(store, client, 100)
    outcomes = [outcome(each.id, f"n{node}") for each in claims for node in range(10)]
    assert len(store.commit(incarnation, outcomes, [end(each.id) for each in claims]).settled) == 100
    assert sql("SELECT count(*), count(DISTINCT xmin::text) FROM dray.checkpoint") == [(1000, 1)]


def test_commits_that_name_executions_in_opposite_orders_do_not_dead_lock(store: DriverStore, client: Client) -> None:
    incarnation, claims = claimed(store, client, 200)
    ends = [end(each.id, "queued") for each in claims]
    both = [Running(lambda given=given: store.commit(incarnation, [], given)) for given in (ends, ends[::-1])]
    assert sum(len(each.result().settled) for each in both) == 200, "each was settled once"


def test_a_reaper_and_a_commit_of_another_incarnation_do_not_meet(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    late, (theirs,) = claimed(store, client)
    incarnation, (own,) = claimed(store, client)
    expire(sql, late)
    with transaction(database) as reaper:
        reaper.execute("SELECT * FROM dray.reap_next('{}', 9)")
        assert store.commit(incarnation, [outcome(own.id)], [end(own.id), end(theirs.id)]).settled == {own.id}
        commit(reaper)
    assert status(sql, theirs.id) == "queued"


@pytest.mark.usefixtures("own_database")
def test_a_server_that_takes_no_writes_now_is_unavailable_not_refused(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    incarnation, (claim,) = claimed(store, client)
    ((name,),) = sql("SELECT current_database()")
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store._engine.dispose()
    with pytest.raises(Unavailable) as caught:
        store.commit(incarnation, [outcome(claim.id)], [end(claim.id)])
    assert caught.value.lost is False
