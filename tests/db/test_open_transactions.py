"""Whatever a person's open transaction has locked, drivers go on with all the rest, and come back to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.records import Kind
from tests.db.helpers import GRAPH, claimed, commit, end, outcome, register, status, submitted, transaction
from tests.pg import Sql

TURNS = "turns"  # a queue whose tenants take turns
# What a person may leave open: the statement, of an execution `id` (waiting, in the queue TURNS).
STATEMENTS = {
    "pause a queue": "SELECT dray.pause_queue('turns')",
    "pause all queues": "SELECT dray.pause_queue(q) FROM unnest('{other,third,turns}'::text[]) q",
    "resume a queue": "SELECT dray.resume_queue('turns')",
    "limit a queue": "SELECT dray.limit_queue('turns', concurrency => 3)",
    "rate of a queue": "SELECT dray.limit_queue('turns', rate => 3, per => 60)",
    "cancel": "SELECT dray.cancel(%(id)s)",
    "pause": "SELECT dray.pause(%(id)s)",
    "resume": "SELECT dray.resume(%(id)s)",
    "signal": "SELECT dray.signal(%(id)s, 'go')",
    "bulk cancel": "SELECT dray.bulk('cancel', '{\"queue\": \"turns\"}')",
    "bulk pause": "SELECT dray.bulk('pause', '{\"queue\": \"turns\"}')",
    "submit": "SELECT dray.submit('w', queue => 'turns', tenant => 'new')",
    "submit with a key": "SELECT dray.submit('w', idempotency_key => 'k')",
    "submit many": "SELECT dray.submit_many('w', ARRAY['{}', '{}']::jsonb[], queue => 'turns')",
    "apply a workflow": """SELECT dray.apply_workflow('w', '{"format": 1, "nodes": [], "edges": []}')""",
    "set a schedule": "SELECT dray.set_schedule('s', 'w', 'interval', '60')",
    "pause a schedule": "SELECT dray.pause_schedule('s')",
    "resume a schedule": "SELECT dray.resume_schedule('s')",
    "delete a schedule": "SELECT dray.delete_schedule('s')",
    "run a schedule": "SELECT dray.run_schedule('s')",
    "retry": "SELECT dray.retry(%(ended)s)",
    "rerun": "SELECT dray.rerun(%(ended)s, 'a')",
    "prune": "SELECT dray.prune(now())",
}


def every_turn_of_a_driver(store: DriverStore, incarnation: str, claims: list[Any]) -> dict[str, Callable[[], Any]]:
    """What a driver asks of the database besides claims and commits."""
    return {
        "place_marks": lambda: store.place_marks(99),
        "wake_due": lambda: store.wake_due(99),
        "controls": lambda: store.controls(incarnation),
        "news": lambda: store.news_of_driver(incarnation),
        "news of some": lambda: store.news_of([each.id for each in claims]),
        "prune": lambda: store.prune(0.0, 99, None),
        "reap": store.reap,
        "end overdue": lambda: store.end_overdue(["default", TURNS], 3600.0, 99),
        "schedules": lambda: [
            store.turn_schedule(each, None, None, None, each.now, each.now) for each in store.due_schedules(9, 1.0)[0]
        ],
        "failing schedules": lambda: [store.fail_schedule(each, "x", 1.0) for each in store.due_schedules(9, 1.0)[0]],
        "work left": lambda: store.work_left(incarnation, ["default", TURNS], 1.0),
        "stats": store.queue_stats,
        "renew": lambda: store.renew(incarnation, 600.0),
    }


@pytest.mark.parametrize("said", [False, True], ids=["a new queue", "a known queue"])
@pytest.mark.parametrize("what", STATEMENTS)
def test_drivers_go_on_beside_it(
    store: DriverStore, client: Client, sql: Sql, database: str, what: str, said: bool
) -> None:
    client.apply_workflow("w", GRAPH)
    client.set_schedule("s", "w", Timing(), paused="resume" in what)
    if said:
        for each in ("default", TURNS):
            client.limit_queue(each, concurrency=99)
    incarnation, claims = claimed(store, client, 4)
    held, ended, parked, other = claims
    store.commit(incarnation, [outcome(ended.id)], [end(ended.id, "failed")])
    wait = outcome(parked.id, "n", '{"signal": "go"}', kind=Kind.WAITS_FOR_NEWS)
    store.commit(incarnation, [wait], [end(parked.id, "waiting")])
    client.submit("w", idempotency_key="used", queue="nobody")
    client.submit_many("w", [{}] * 3, queue=TURNS, tenant="t")
    plain = client.submit("w")
    with transaction(database) as person:
        person.execute("SET LOCAL lock_timeout = '5s'")
        person.execute(STATEMENTS[what], {"id": parked.id, "ended": ended.id})
        for name, turn in every_turn_of_a_driver(store, incarnation, claims).items():
            turn()
            assert client.get(other.id).status == "running", name
        more = client.submit("w")
        taken = [each.id for each in store.claim(incarnation, ["default", TURNS], 99)]
        assert {plain, more} <= set(taken), "the claims of other queues"
        settled = store.commit(incarnation, [outcome(held.id), outcome(other.id)], [end(held.id), end(other.id)])
        assert getattr(settled, "settled", settled) == {held.id, other.id}
        commit(person)
    sql("UPDATE dray.queue SET paused = false")
    for turn in every_turn_of_a_driver(store, incarnation, claims).values():
        turn()
    store.claim(incarnation, ["default", TURNS], 99)
    left = {each.status for each in client.list(queue=TURNS)}
    assert left <= {"running", "cancelled", "paused"}, "it is come back to"


class Timing:
    kind, expression, zone = "interval", "60", "UTC"


def test_a_claim_is_held_up_once_however_many_queues_somebody_has_locked(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    client.apply_workflow("w", GRAPH)
    names = [f"q{n:02}" for n in range(30)]
    for each in names:
        client.submit("w", queue=each, tenant="t")
    execution = client.submit("w")
    incarnation = register(store)
    with transaction(database) as person:
        person.execute("SELECT dray.pause_queue(q) FROM unnest(%s::text[]) q", (names,))
        sql("ALTER ROLE CURRENT_USER SET statement_timeout = '2s'")
        store._engine.dispose()
        try:
            assert [each.id for each in store.claim(incarnation, [*names, "default"], 99)] == [execution]
        finally:
            sql("ALTER ROLE CURRENT_USER RESET statement_timeout")
            store._engine.dispose()


def test_marks_of_rows_that_somebody_keeps_locked_stand_in_nobodys_way(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    ids = submitted(client, 6)
    locked, free = ids[:4], ids[4:]
    with transaction(database) as person:
        person.execute("SELECT 1 FROM dray.execution WHERE id = ANY (%s::uuid[]) FOR UPDATE", (locked,))
        sql("INSERT INTO dray.pending_mark (execution_id, mark) SELECT u, 'cancel' FROM unnest(%(i)s::uuid[]) u", i=ids)
        assert store.place_marks(2) == 2
        assert [status(sql, each) for each in free] == ["cancelled"] * 2
        commit(person)
    assert store.place_marks(9) == 4
    assert {status(sql, each) for each in ids} == {"cancelled"}


def test_schedules_that_somebody_keeps_locked_stand_in_nobodys_way(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    client.apply_workflow("w", GRAPH)
    for n in range(6):
        client.set_schedule(f"s{n}", "w", Timing())
    with transaction(database) as person:
        person.execute("SELECT dray.pause_schedule('s' || n) FROM generate_series(0, 3) n")
        assert {each.name for each in store.due_schedules(2, 1.0)[0]} == {"s4", "s5"}


def test_a_key_that_somebody_is_taking_over_keeps_its_execution_and_no_other(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    client.apply_workflow("w", GRAPH)
    keyed, plain = client.submit("w", idempotency_key="k"), client.submit("w")
    client.cancel(keyed)
    client.cancel(plain)
    sql("UPDATE dray.idempotency SET created_at = created_at - interval '2 days'")
    with transaction(database) as person:
        person.execute("SELECT dray.submit('w', idempotency_key => 'k')")
        assert client.prune(timedelta(0)) == 1
        assert [each.id for each in client.list()] == [keyed]
        commit(person)
    assert client.prune(timedelta(0)) == 1
    assert sql("SELECT count(*) FROM dray.idempotency") == [(1,)]


def test_a_key_counts_from_when_it_was_given_and_not_from_the_start_of_the_transaction(
    client: Client, sql: Sql, database: str
) -> None:
    client.apply_workflow("w", GRAPH)
    with transaction(database) as person:
        person.execute("SELECT now(), pg_sleep(0.01)")
        ((began, _),) = person.fetchall()
        person.execute("SELECT dray.submit('w', idempotency_key => 'k')")
        commit(person)
    assert sql("SELECT created_at > %(began)s FROM dray.idempotency", began=began) == [(True,)]
