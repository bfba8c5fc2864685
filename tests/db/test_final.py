"""Final is final: nothing that the program or a person can call changes an execution that has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused
from dray.store.queries import QUERIES
from dray.store.records import FINAL, ExecutionStatus
from tests.db.helpers import GRAPH, QUEUES, claimed, end, expire, outcome, register, transaction
from tests.pg import Sql

ENDINGS = sorted(each.value for each in FINAL)


class Ended:
    """An execution that has ended, and everything that is kept of it."""

    def __init__(self, store: DriverStore, client: Client, sql: Sql, ending: str) -> None:
        self.store, self.client, self.sql = store, client, sql
        self.driver, (claim,) = claimed(store, client)
        self.id = claim.id
        store.commit(self.driver, [outcome(self.id), outcome(self.id, "b")], [end(self.id, ending)])

    def row(self) -> list[tuple[Any, ...]]:
        return self.sql("SELECT e::text, dray.output(e.id)::text FROM dray.execution e")

    def settle(self, status: str) -> None:
        assert self.store.commit(self.driver, [], [end(self.id, status, 60)]).settled == frozenset()
        other = register(self.store)
        assert self.store.commit(other, [], [end(self.id, status, 60)]).settled == frozenset()

    def mark(self) -> None:
        for mark in ("wake", "cancel", "begin"):
            insert = "INSERT INTO dray.pending_mark (execution_id, mark) VALUES (%(id)s, %(mark)s)"
            self.sql(insert, id=self.id, mark=mark)
        assert self.store.place_marks(9) == 3

    def below(self) -> None:
        self.sql("UPDATE dray.execution SET parent_id = id")  # whoever is a child of it
        self.sql("SELECT dray.cancel_below(ARRAY[%(id)s]::uuid[], true)", id=self.id)
        self.sql("UPDATE dray.execution SET parent_id = NULL")

    def outlive(self) -> None:
        other = register(self.store)
        self.sql("INSERT INTO dray.crash (driver, execution_id) VALUES (%(by)s, %(id)s)", by=other, id=self.id)
        self.sql("UPDATE dray.execution SET crash_count = crash_count + 1")  # that could be taken back
        self.store.outlived(other)
        self.sql("UPDATE dray.execution SET crash_count = crash_count - 1")

    def reap(self) -> None:
        expire(self.sql, self.driver)
        assert [each.requeued for each in self.store.reap()] == [0]


TRIES: dict[str, Callable[[Ended], Any]] = {
    "claim": lambda it: it.store.claim(it.driver, QUEUES, 9),
    "record": lambda it: it.store.commit(it.driver, [outcome(it.id, text='"late"')], []),
    "wake_due": lambda it: it.store.wake_due(9),
    "cancel": lambda it: it.client.cancel(it.id),
    "signal": lambda it: it.client.signal(it.id, "go"),
    "pause": lambda it: it.client.pause(it.id),
    "resume": lambda it: it.client.resume(it.id),
    "bulk": lambda it: [it.client.bulk(each) for each in ("cancel", "pause", "resume")],
    "controls": lambda it: it.store.controls(it.driver),
    **{f"settle as {each.value}": lambda it, to=each.value: it.settle(to) for each in ExecutionStatus},
    "give_back": lambda it: it.sql("SELECT dray.give_back(%(id)s::uuid, true, 9)", id=it.driver),
    "release": lambda it: it.store.release(register(it.store)),
    "reap": lambda it: it.reap(),
    "outlived": lambda it: it.outlive(),
    "limit_executions": lambda it: it.sql("SELECT dray.limit_executions(ARRAY[%(id)s]::uuid[], 't', 'k')", id=it.id),
    "wake_executions": lambda it: it.sql("SELECT dray.wake_executions(ARRAY[%(id)s]::uuid[])", id=it.id),
    "place_marks": lambda it: it.mark(),
    "cancel_below": lambda it: it.below(),
    "end_overdue": lambda it: it.sql("SELECT dray.end_overdue('{default}', 0.0, 9)"),
    "news": lambda it: it.store.news_of_driver(it.driver),
    "pass": lambda it: it.sql("SELECT dray.pass(dray.lane('w', 'w', ''), 9, '{}')"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_changes_it(store: DriverStore, client: Client, sql: Sql, ending: str) -> None:
    ended = Ended(store, client, sql, ending)
    before = ended.row()
    for name, attempt in TRIES.items():
        attempt(ended)
        assert ended.row() == before, name


def test_everything_that_writes_an_execution_was_tried(sql: Sql) -> None:
    functions = dict(sql("SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'dray'::regnamespace"))
    writing = {name for name, text in {**QUERIES, **functions}.items() if "UPDATE dray.execution " in text}
    made = {"claim_if_fenced", "commit_if_fenced", "wake_due", "cancel_one", "signal", "pause", "resume", "give_back"}
    made |= {"claim_unheard", "outlived"}
    made |= {"limit_executions", "pass", "wake_executions", "place_marks", "news_of_driver"}
    made |= {"cancel_below", "begin_children", "end_overdue"}
    assert writing == made | {"execution_moved", "input_written"}  # triggers, of what is queued and what is new


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_settlement_in_flight_does_not_change_an_end_that_it_waited_for(
    store: DriverStore, client: Client, sql: Sql, database: str, ending: str
) -> None:
    driver, (claim,) = claimed(store, client)
    with transaction(database) as first:
        first.execute(
            "UPDATE dray.execution SET status = %s, owner = NULL, finished_at = now() WHERE id = %s", (ending, claim.id)
        )
        first.connection.commit()
    assert store.commit(driver, [], [end(claim.id, "queued")]).settled == frozenset()
    assert client.get(claim.id).status == ending


@pytest.mark.parametrize(
    "broken",
    [
        "status = 'running'",  # without an owner
        "owner = gen_random_uuid()",
        "finished_at = now()",
        "status = 'completed'",  # without an end
        "status = 'done'",
        "control = 'stop'",
    ],
)
def test_the_table_refuses_rows_that_make_no_sense(client: Client, sql: Sql, broken: str) -> None:
    client.apply_workflow("w", GRAPH)
    client.submit("w")
    with pytest.raises(DataRefused, match="check constraint"):
        sql(f"UPDATE dray.execution SET {broken}")
