"""Schedules on a real database: each slot has one execution, however many drivers look and wherever one dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine

from dray.cluster import failpoints
from dray.cluster.driver.scheduler import Scheduler
from dray.cluster.schedules import Bounds, Timing
from dray.store.client.client import Client
from dray.store.connection import connection
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused, ScheduleNotFound, WorkflowNotFound
from dray.store.queries import QUERIES
from tests.db.helpers import GRAPH, Running, commit, transaction
from tests.pg import Sql

EVERY = Timing.every("1h")
UTC = UTC


@pytest.fixture(autouse=True)
def _workflow(client: Client) -> None:
    client.apply_workflow("w", GRAPH)


def scheduler(store: DriverStore, **bounds: Any) -> Scheduler:
    return Scheduler(store, Bounds()._replace(**bounds), lambda: None)


def turns(found: Scheduler) -> None:
    """Look until there is nothing to do now."""
    for _ in range(1000):
        if found.turn() > 0:
            return
    raise AssertionError("it turns on the spot")


def due(sql: Sql, name: str, ago: str = "1 second") -> datetime:
    """Its next slot lies that long ago; gives the slot. As if the clock had been put forward."""
    ((slot,),) = sql(
        "UPDATE dray.schedule SET next_at = date_trunc('second', clock_timestamp()) - %(ago)s::interval, "
        "look_at = clock_timestamp(), revision = revision + 1 WHERE name = %(name)s RETURNING next_at",
        name=name, ago=ago,
    )  # fmt: skip
    return datetime.fromisoformat(slot.isoformat())


def end_all(sql: Sql) -> None:
    sql("UPDATE dray.execution SET status = 'completed', finished_at = now() WHERE status <> 'completed'")


def test_a_slot_starts_one_execution_that_knows_its_slot(store: DriverStore, client: Client, sql: Sql) -> None:
    made = client.set_schedule(
        "nightly", "w", Timing.cron("@hourly", "Europe/Berlin"), input={"a": 1, "trigger_type": "mine"}, priority=9,
        queue="fast", labels={"team": "blue"},
    )  # fmt: skip
    turns(scheduler(store))
    assert client.list() == [], "its slot is to come"
    planned = client.schedule("nightly").next_at
    assert planned is not None
    assert (planned.minute, planned.second) == (0, 0)
    slot = due(sql, "nightly")
    turns(scheduler(store))
    (found,) = client.list()
    assert (found.workflow, found.priority, found.queue) == ("w", 9, "fast")
    assert found.labels == {"team": "blue", "schedule": "nightly"}
    given = client.get(found.id).input
    assert datetime.fromisoformat(given.pop("scheduled_at")) == slot
    assert given == {"a": 1, "trigger_type": "schedule", "schedule_id": made, "cron_expression": "@hourly"}
    after = client.schedule("nightly")
    assert (after.last_at, after.last_execution, after.next_at) == (slot, found.id, planned)
    turns(scheduler(store))
    assert len(client.list()) == 1


def test_a_slot_is_told_in_its_zone(store: DriverStore, client: Client, sql: Sql) -> None:
    client.set_schedule("s", "w", Timing.cron("0 3 * * *", "Asia/Kolkata"))
    slot = due(sql, "s")
    turns(scheduler(store))
    (found,) = client.list()
    said = client.get(found.id).input["scheduled_at"]
    assert said == slot.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()


def test_many_drivers_on_one_slot_make_one_execution(engine: Engine, client: Client, sql: Sql) -> None:
    names = [f"s{number}" for number in range(8)]
    for name in names:
        client.set_schedule(name, "w", EVERY, overlap="allow")
    for turn in range(5):
        for name in names:
            due(sql, name, f"{20 - turn} seconds")
        before = len(client.list(limit=1000))
        ready = threading.Barrier(6)

        def look(ready: threading.Barrier = ready) -> None:
            mine = scheduler(DriverStore(engine))
            ready.wait(30)
            turns(mine)

        for each in [Running(look) for _ in range(6)]:
            each.result()
        assert len(client.list(limit=1000)) == before + len(names)
    runs = sql(
        "SELECT labels ->> 'schedule', count(*), count(DISTINCT input ->> 'scheduled_at') "
        "FROM dray.execution_input GROUP BY 1"
    )
    assert {name: count for name, count, _ in runs} == dict.fromkeys(names, 5)


def test_what_two_drivers_read_is_done_by_one(store: DriverStore, client: Client, sql: Sql) -> None:
    client.set_schedule("s", "w", EVERY)
    slot = due(sql, "s")
    (row,), _ = store.due_schedules(10, 1.0)
    later = slot + timedelta(hours=1)
    first = store.turn_schedule(row, slot, "then", None, later, later)
    assert first[0]
    assert first[1]
    assert store.turn_schedule(row, slot, "then", None, later, later) == (False, None)
    assert store.fail_schedule(row, "x", 1.0) is False
    assert len(client.list()) == 1


def test_a_row_that_somebody_holds_is_passed_over(store: DriverStore, client: Client, sql: Sql, database: str) -> None:
    for name in ("held", "free"):
        client.set_schedule(name, "w", EVERY)
        due(sql, name)
    row = next(each for each in store.due_schedules(10, 1.0)[0] if each.name == "held")
    with transaction(database) as cursor:
        cursor.execute("SELECT dray.pause_schedule('held')")
        turns(scheduler(store))  # and does not turn on the spot
        assert [each.labels for each in client.list()] == [{"schedule": "free"}]
        assert store.fail_schedule(row, "x", 1.0) is False, "not waited for either"
        commit(cursor)
    turns(scheduler(store))
    assert len(client.list()) == 1, "it was paused before its slot was run"


@pytest.mark.parametrize(("place", "runs"), [("before_slot", 0), ("after_slot", 1)])
def test_a_scheduler_that_dies_before_or_after_a_slot_makes_neither_two_nor_none(
    engine: Engine, client: Client, sql: Sql, monkeypatch: pytest.MonkeyPatch, place: str, runs: int
) -> None:
    class Dead(BaseException):
        """As SIGKILL: nothing of the scheduler's own comes after it."""

    def die(name: str) -> None:
        if name == place:
            raise Dead

    client.set_schedule("s", "w", EVERY)
    due(sql, "s")
    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "hit", die)
        with pytest.raises(Dead):
            scheduler(DriverStore(engine)).turn()
    assert len(client.list()) == runs
    turns(scheduler(DriverStore(engine)))
    assert len(client.list()) == 1


def test_a_transaction_that_is_rolled_back_leaves_the_slot_for_the_next(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    client.set_schedule("s", "w", EVERY)
    slot = due(sql, "s")
    (row,), _ = store.due_schedules(10, 1.0)
    with transaction(database) as cursor:
        cursor.execute(
            "SELECT * FROM dray.turn_schedule(%s::uuid, %s, %s, 'x', NULL, %s, %s)",
            (row.id, row.revision, slot, slot + timedelta(hours=1), slot + timedelta(hours=1)),
        )
        assert cursor.fetchone()[0]
        assert store.turn_schedule(row, slot, "x", None, slot, slot) == (False, None), "skipped, not waited for"
    turns(scheduler(store))
    assert len(client.list()) == 1


def test_a_slot_that_somebody_puts_back_by_hand_is_not_run_again(store: DriverStore, client: Client, sql: Sql) -> None:
    client.set_schedule("s", "w", EVERY, overlap="allow")
    slot = due(sql, "s")
    turns(scheduler(store))
    sql("UPDATE dray.schedule SET next_at = %(slot)s, look_at = now(), revision = revision + 1", slot=slot)
    turns(scheduler(store))
    assert len(client.list()) == 1


def test_skip_and_queue_and_allow(store: DriverStore, client: Client, sql: Sql) -> None:
    for overlap in ("skip", "queue", "allow"):
        client.set_schedule(overlap, "w", EVERY, overlap=overlap)

    def count(name: str) -> int:
        turns(scheduler(store))
        return len(client.list(labels={"schedule": name}))

    for name in ("skip", "queue", "allow"):
        due(sql, name, "3 seconds")
        assert count(name) == 1
    slots = {name: due(sql, name, "2 seconds") for name in ("skip", "queue", "allow")}
    assert [count(name) for name in slots] == [1, 1, 2]
    assert client.schedule("queue").queued_at == slots["queue"]
    due(sql, "queue")
    assert count("queue") == 1
    end_all(sql)
    sql("UPDATE dray.schedule SET look_at = now()")
    assert [count(name) for name in slots] == [1, 2, 2]
    queued = client.schedule("queue")
    assert (queued.queued_at, queued.last_at) == (None, slots["queue"])


def test_missed_slots_are_skipped_or_made_good(store: DriverStore, client: Client, sql: Sql) -> None:
    policies = {"off": ("skip", None), "one": ("latest", None), "on": ("all", None), "two": ("all", 2)}
    for name, (missed, limit) in policies.items():
        client.set_schedule(name, "w", Timing.every("60s"), overlap="allow", missed=missed, missed_limit=limit)
        due(sql, name, "10 minutes 30 seconds")
    turns(scheduler(store, grace=45.0, catch_up=4))
    counts = [len(client.list(labels={"schedule": name})) for name in policies]
    assert counts == [1, 1, 4, 2]
    for name in policies:
        next_at = client.schedule(name).next_at
        assert next_at is not None
        assert next_at > datetime.now(UTC) - timedelta(seconds=5)


def test_once_runs_and_has_ended(store: DriverStore, client: Client, sql: Sql) -> None:
    client.set_schedule("s", "w", Timing.once(datetime.now(UTC) + timedelta(hours=1)))
    turns(scheduler(store))
    assert client.schedule("s").status == "active"
    sql(
        "UPDATE dray.schedule SET expression = (now() - interval '3 days')::text, since = now() - interval '4 days', "
        "next_at = NULL, look_at = now()"
    )
    turns(scheduler(store))
    found = client.schedule("s")
    assert (found.status, found.next_at, len(client.list())) == ("ended", None, 1)
    client.set_schedule("s", "w", Timing.every("1h"))
    assert client.schedule("s").status == "active"


def test_a_schedule_that_cannot_run_is_marked_and_stops_no_other(store: DriverStore, client: Client, sql: Sql) -> None:
    client.apply_workflow("gone", GRAPH)
    client.set_schedule("gone", "gone", EVERY)
    for name in ("bad", "good"):
        client.set_schedule(name, "w", EVERY)
    for name in ("gone", "bad", "good"):
        due(sql, name)
    sql("DELETE FROM dray.workflow WHERE name = 'gone'")
    sql("UPDATE dray.schedule SET kind = 'cron', expression = '99 * * * *' WHERE name = 'bad'")
    turns(scheduler(store))
    assert [each.labels for each in client.list()] == [{"schedule": "good"}]
    marked = {each.name: (each.failures, each.error or "") for each in client.schedules()}
    assert marked["good"] == (0, "")
    assert marked["gone"][0] == marked["bad"][0] == 1
    assert 'no workflow named "gone"' in marked["gone"][1]
    assert "bad minute" in marked["bad"][1]
    client.apply_workflow("gone", GRAPH)
    sql("UPDATE dray.schedule SET look_at = now() WHERE name = 'gone'")
    turns(scheduler(store))
    assert (client.schedule("gone").failures, client.schedule("gone").error) == (0, None)
    assert len(client.list()) == 2


def test_a_paused_schedule_starts_nothing_and_its_slots_are_not_made_good(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    client.set_schedule("s", "w", Timing.every("60s"), missed="all", overlap="allow")
    due(sql, "s", "10 minutes")
    assert client.pause_schedule("s") == "paused"
    turns(scheduler(store))
    assert client.list() == []
    assert client.resume_schedule("s") == "active"
    turns(scheduler(store))
    assert client.list() == []
    next_at = client.schedule("s").next_at
    assert next_at is not None
    assert next_at > datetime.now(UTC)
    assert client.resume_schedule("s") == "active"


def test_a_schedule_is_changed_in_place(store: DriverStore, client: Client, sql: Sql) -> None:
    made = client.set_schedule("s", "w", EVERY, input={"a": 1})
    turns(scheduler(store))
    first = client.schedule("s")
    assert client.set_schedule("s", "w", EVERY, input={"a": 2}, overlap="queue") == made
    same = client.schedule("s")
    assert (same.next_at, same.input, same.overlap) == (first.next_at, {"a": 2}, "queue")
    client.pause_schedule("s")
    client.set_schedule("s", "w", EVERY)
    assert client.schedule("s").status == "paused"
    client.set_schedule("s", "w", Timing.every("2h"), paused=False)
    turns(scheduler(store))
    other = client.schedule("s")
    assert other.status == "active"
    assert first.next_at is not None
    assert other.next_at is not None
    assert other.next_at > first.next_at + timedelta(minutes=30)


def test_a_change_between_look_and_slot_wins(store: DriverStore, client: Client, sql: Sql) -> None:
    client.set_schedule("s", "w", EVERY)
    slot = due(sql, "s")
    (row,), _ = store.due_schedules(10, 1.0)
    client.pause_schedule("s")
    client.resume_schedule("s")
    assert store.turn_schedule(row, slot, "x", None, slot, slot) == (False, None)
    assert client.list() == []


def test_run_by_hand_starts_one_and_changes_nothing(store: DriverStore, client: Client) -> None:
    client.set_schedule("s", "w", EVERY, input={"a": 1}, paused=True)
    before = client.schedule("s")
    execution = client.run_schedule("s")
    assert client.schedule("s") == before
    given = client.get(execution).input
    assert datetime.now(UTC) - datetime.fromisoformat(given.pop("scheduled_at")) < timedelta(minutes=5)
    assert given == {"a": 1, "trigger_type": "schedule", "schedule_id": before.id, "cron_expression": None}


def test_what_is_not_there_is_told(client: Client) -> None:
    for call in (client.schedule, client.pause_schedule, client.resume_schedule, client.run_schedule):
        with pytest.raises(ScheduleNotFound, match="no schedule 'none'"):
            call("none")
    with pytest.raises(ScheduleNotFound):
        client.delete_schedule("none")
    with pytest.raises(WorkflowNotFound, match="'none'"):
        client.set_schedule("s", "none", EVERY)
    for name in ("", " ", "a\nb", "x" * 255):
        with pytest.raises(DataRefused, match="name"):
            client.set_schedule(name, "w", EVERY)
    with pytest.raises(DataRefused, match="overlap"):
        client.set_schedule("s", "w", EVERY, overlap="both")
    client.set_schedule("s", "w", EVERY)
    client.delete_schedule("s")
    assert client.schedules() == []


def test_a_workflow_brings_its_schedule_along(store: DriverStore, client: Client, sql: Sql) -> None:
    scheduled = {
        **GRAPH,
        "schedule": {"kind": "cron", "expression": "0 3 * * *", "zone": "Europe/Berlin", "input": {"a": 1}},
    }
    client.apply_workflow("w", scheduled)
    (first,) = client.schedules("w")
    assert (first.name, first.expression, first.zone, first.from_graph) == ("w", "0 3 * * *", "Europe/Berlin", True)
    assert (first.input, first.status, first.overlap) == ({"a": 1}, "active", "skip")
    with pytest.raises(DataRefused, match="made by the trigger of its workflow"):
        client.delete_schedule("w")
    with pytest.raises(DataRefused, match="made by the trigger of"):
        client.set_schedule("w", "w", EVERY)
    client.pause_schedule("w")
    assert client.apply_workflow("w", scheduled)[2] is False
    assert client.schedule("w").status == "paused", "a deployment does not wake what a person has paused"
    client.apply_workflow("w", {**scheduled, "schedule": {**scheduled["schedule"], "expression": "0 4 * * *"}})
    assert (client.schedule("w").id, client.schedule("w").expression) == (first.id, "0 4 * * *")
    client.set_schedule("mine", "w", EVERY)
    client.apply_workflow("w", GRAPH)
    assert [each.name for each in client.schedules()] == ["mine"]


def test_a_workflow_may_bring_a_paused_schedule(client: Client) -> None:
    schedule = {
        "kind": "interval",
        "expression": "60",
        "zone": "UTC",
        "paused": True,
        "overlap": "allow",
        "priority": 9,
    }
    client.apply_workflow("p", {**GRAPH, "schedule": schedule})
    found = client.schedule("p")
    assert (found.status, found.overlap, found.priority) == ("paused", "allow", 9)
    client.resume_schedule("p")
    client.apply_workflow("p", {**GRAPH, "schedule": schedule})
    assert client.schedule("p").status == "active"


def test_a_workflow_does_not_take_a_schedule_that_somebody_made(client: Client) -> None:
    client.set_schedule("new", "w", EVERY)
    with pytest.raises(DataRefused, match="is there already, made by hand"):
        client.apply_workflow("new", {**GRAPH, "schedule": {"kind": "interval", "expression": "60", "zone": "UTC"}})
    assert [each.name for each in client.workflows()] == ["w"], "all or nothing"


def test_in_a_transaction_of_the_callers_a_schedule_exists_once_that_commits(engine: Engine, client: Client) -> None:
    with connection(engine) as found:
        found.exec_driver_sql("BEGIN")
        Client(found).set_schedule("s", "w", EVERY)
        assert client.schedules() == []
        found.exec_driver_sql("COMMIT")
    assert [each.name for each in client.schedules()] == ["s"]


def test_the_thread_runs_slots_until_it_is_stopped(store: DriverStore, client: Client, sql: Sql) -> None:
    ran = threading.Event()
    thread = Scheduler(store, Bounds(), ran.set)
    thread.start()
    try:
        client.set_schedule("s", "w", Timing.every(1), overlap="allow")
        assert ran.wait(30)
        for _ in range(300):
            if len(client.list()) >= 3:
                break
            sql("SELECT pg_sleep(0.1)")
    finally:
        thread.stop()
        thread.join(30)
    assert not thread.is_alive()
    slots = [client.get(each.id).input["scheduled_at"] for each in client.list()]
    assert len(slots) == len(set(slots)) >= 3


def test_what_is_not_due_is_not_read(client: Client, sql: Sql) -> None:
    sql(
        "INSERT INTO dray.schedule (id, name, workflow, kind, expression, look_at, next_at) "
        "SELECT dray.uuid7(), n::text, 'w', 'interval', '60', now() + interval '1 hour', now() + interval '1 hour' "
        "FROM generate_series(1, 20000) n"
    )
    plan = sql(f"EXPLAIN (FORMAT JSON, ANALYZE) {QUERIES['due_schedules']}", limit=100, ahead=1.0)[0][0][0]["Plan"]
    scans = [each for each in nodes(plan) if each.get("Relation Name") == "schedule"]
    assert scans
    assert {each["Node Type"] for each in scans} <= {"Index Scan", "Bitmap Heap Scan"}
    assert {each["Actual Rows"] + each.get("Rows Removed by Filter", 0) for each in scans} == {0}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)
