"""What ended long ago is deleted, with all that is kept of it, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dray.cluster.driver import housekeeper
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import StoreError
from tests.db.helpers import GRAPH, Running, claimed, commit, end, outcome, register, transaction, until_blocked
from tests.db.test_driver import until
from tests.pg import Sql

DAY = 86_400
KEPT = ("execution", "execution_input", "checkpoint", "signal", "idempotency", "runner")


def counts(sql: Sql) -> dict[str, int]:
    return {table: sql(f"SELECT count(*) FROM dray.{table}")[0][0] for table in KEPT}


def age(sql: Sql, execution: str, days: float) -> str:
    """As if it had been submitted, and had ended, so many days ago. Gives its new id."""
    ((new,),) = sql("SELECT dray.id_at(now() - %(days)s * interval '1 day')::text", days=days)
    for table in ("execution_input", "checkpoint", "signal", "idempotency"):
        sql(
            f"UPDATE dray.{table} SET execution_id = %(new)s::uuid WHERE execution_id = %(old)s::uuid",
            new=new,
            old=execution,
        )
    sql(
        "UPDATE dray.execution SET id = %(new)s::uuid, finished_at = CASE WHEN finished_at IS NOT NULL "
        "THEN now() - %(days)s * interval '1 day' END WHERE id = %(old)s::uuid",
        new=new, old=execution, days=days,
    )  # fmt: skip
    sql("UPDATE dray.idempotency SET created_at = now() - %(days)s * interval '1 day'", days=days)
    return str(new)


def ended(store: DriverStore, client: Client, status: str = "completed", **given: str) -> str:
    driver, (claim,) = claimed(store, client)
    client.signal(claim.id, "go")
    store.commit(driver, [outcome(claim.id)], [end(claim.id, status)])
    store.release(driver)
    return claim.id


def test_an_old_execution_goes_with_all_that_is_kept_of_it(store: DriverStore, client: Client, sql: Sql) -> None:
    old, young = ended(store, client), ended(store, client)
    for key, execution in (("old", old), ("young", young)):
        sql("INSERT INTO dray.idempotency VALUES ('w', %(key)s, %(id)s::uuid)", key=key, id=execution)
    age(sql, old, 40)
    assert client.prune(timedelta(days=30), dry_run=True) == 1
    assert client.prune(timedelta(days=30)) == 1
    assert counts(sql) == dict.fromkeys(KEPT, 1) | {"runner": 0}
    assert sql("SELECT key, execution_id::text FROM dray.idempotency") == [("young", young)]
    assert client.prune(timedelta(days=30)) == 0


def runner(store: DriverStore, sql: Sql, days: float) -> int:
    """One that ended so many days ago."""
    found = store.register_runner(register(store), "node", "host", 7, f"runner {days}")
    sql("UPDATE dray.runner SET ended_at = now() - %(days)s * interval '1 day' WHERE id = %(id)s", days=days, id=found)
    return found


def test_a_runner_stays_as_long_as_something_names_it(store: DriverStore, client: Client, sql: Sql) -> None:
    driver, (claim,) = claimed(store, client)
    _, named, lives = runner(store, sql, 60), runner(store, sql, 40), runner(store, sql, 1)
    store.commit(driver, [outcome(claim.id, runner=named)], [])
    waits = age(sql, claim.id, 50)
    client.prune(timedelta(days=30))
    assert [row[0] for row in sql("SELECT id FROM dray.runner ORDER BY id")] == [named, lives]
    assert [each.runner for each in client.attempts(waits)] == ["runner 40"]
    store.commit(driver, [], [end(waits)])
    sql("UPDATE dray.execution SET finished_at = now() - interval '35 days'")
    again = client.rerun(waits, "b")
    assert client.prune(timedelta(days=30)) == 1
    assert [each.runner for each in client.attempts(again)] == ["runner 40"]
    sql("UPDATE dray.execution_input SET source_id = NULL")
    client.prune(timedelta(days=30))
    assert sql("SELECT id FROM dray.runner") == [(lives,)]


def test_what_somebody_keeps_locked_stays_and_nobody_waits(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    held, _ = (age(sql, ended(store, client), days) for days in (41, 40))
    with transaction(database) as reader:
        reader.execute("SELECT FROM dray.execution WHERE id = %s FOR KEY SHARE", [held])
        assert client.prune(timedelta(days=30)) == 1
    assert sql("SELECT id::text FROM dray.execution") == [(held,)]
    assert client.prune(timedelta(days=30)) == 1


def test_an_execution_with_many_checkpoints_goes_a_part_at_a_time(store: DriverStore, client: Client, sql: Sql) -> None:
    _, large, _ = (age(sql, ended(store, client, "failed"), days) for days in (42, 41, 40))
    sql(
        "INSERT INTO dray.checkpoint (execution_id, at, attempt, kind, node_key) "
        "SELECT %(id)s::uuid, now(), 1, 'c', 'L[' || n || ']/a' FROM generate_series(1, 50) n",
        id=large,
    )
    given = {"age": 30 * DAY, "most": 1, "behind": None}
    seen = []
    while True:
        read = sql("SELECT count(*) FROM dray.checkpoint")[0][0]
        deleted, given["behind"] = store.prune(**given)
        assert read - sql("SELECT count(*) FROM dray.checkpoint")[0][0] <= 20
        seen.append(deleted)
        if given["behind"] is None:
            break
        if seen == [1, 0]:
            with pytest.raises(StoreError, match=r"the input of execution .* is not in the database any more"):
                client.retry(large)
    assert seen[:5] == [1, 0, 0, 1, 1]
    assert counts(sql)["checkpoint"] == counts(sql)["execution"] == 0


def test_a_round_looks_at_a_few_at_a_time_and_comes_to_the_end(store: DriverStore, client: Client, sql: Sql) -> None:
    client.apply_workflow("w", GRAPH)
    for days in range(50, 61):
        age(sql, client.submit("w"), days)
    last = age(sql, ended(store, client), 40)
    behind: str | None = None
    for looks in (4, 8):
        deleted, behind = store.prune(30 * DAY, 1, behind)
        assert deleted == 0
        assert sql("SELECT count(*) FROM dray.execution WHERE id <= %(id)s::uuid", id=behind) == [(looks,)]
    deleted, behind = store.prune(30 * DAY, 1, behind)
    assert (deleted, behind) == (1, last)
    assert store.prune(30 * DAY, 1, behind) == (0, None)


def test_what_has_not_ended_stays_however_old(store: DriverStore, client: Client, sql: Sql) -> None:
    ended(store, client)
    age(sql, client.submit("w"), 400)
    assert client.prune(timedelta(days=30)) == 0


def test_a_child_stays_as_long_as_its_parent_may_ask_for_it(store: DriverStore, client: Client, sql: Sql) -> None:
    child = age(sql, ended(store, client), 40)
    parent = client.submit("w")
    sql("UPDATE dray.execution SET parent_id = %(parent)s::uuid WHERE id = %(id)s::uuid", parent=parent, id=child)
    assert client.prune(timedelta(days=30)) == 0
    client.cancel(parent)
    assert client.prune(timedelta(days=30)) == 1


def test_of_one_status_only(store: DriverStore, client: Client, sql: Sql) -> None:
    for number, status in enumerate(("completed", "failed", "cancelled")):
        age(sql, ended(store, client, status), 40 + number)
    assert client.prune(timedelta(days=30), ["failed", "cancelled"]) == 2
    assert [row[0] for row in sql("SELECT status FROM dray.execution")] == ["completed"]


def test_in_batches(store: DriverStore, client: Client, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dray.store.client.retention.BATCH", 2)
    for days in range(40, 45):
        age(sql, ended(store, client), days)
    assert client.prune(timedelta(days=30)) == 5


def test_a_driver_does_it_by_itself(store: DriverStore, client: Client, sql: Sql) -> None:
    age(sql, ended(store, client), 40)
    keeper = housekeeper.Housekeeper(store, register(store), 5.0, lambda event: None, lambda: None, keep=30.0 * DAY)
    keeper.start()
    try:
        until(lambda: counts(sql)["execution"] == 0, 60)
    finally:
        keeper.stop()
        keeper.join(60)


def test_a_driver_goes_through_a_long_history_in_batches(
    store: DriverStore, client: Client, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeper, "PRUNE_LIMIT", 1)
    monkeypatch.setattr(housekeeper, "PRUNE_SHARE", 0)
    for days in range(40, 44):
        age(sql, ended(store, client), days)
    keeper = housekeeper.Housekeeper(store, register(store), 5.0, lambda event: None, lambda: None, keep=30.0 * DAY)
    left = []
    for _ in range(4):
        keeper._prune()
        left.append(counts(sql)["execution"])
    assert left == [3, 2, 1, 0]


def test_nothing_is_deleted_unless_it_is_asked_for(store: DriverStore, client: Client, sql: Sql) -> None:
    age(sql, ended(store, client), 4_000)
    housekeeper.Housekeeper(store, register(store), 5.0, lambda event: None, lambda: None)._prune()
    assert counts(sql)["execution"] == 1


def test_a_key_may_be_used_anew_when_its_window_is_over(client: Client, sql: Sql) -> None:
    client.apply_workflow("w", GRAPH)
    first = client.submit("w", idempotency_key="k")
    sql("UPDATE dray.idempotency SET created_at = now() - interval '23 hours'")
    assert client.submit("w", idempotency_key="k") == first
    sql("UPDATE dray.idempotency SET created_at = now() - interval '25 hours'")
    assert client.submit("w", idempotency_key="k", idempotency_window=None) == first
    assert client.submit("w", idempotency_key="k", idempotency_window=timedelta(days=2)) == first
    second = client.submit("w", idempotency_key="k")
    assert second != first
    assert client.submit("w", idempotency_key="k") == second


def test_of_two_that_take_over_an_old_key_one_makes_an_execution(client: Client, sql: Sql, database: str) -> None:
    client.apply_workflow("w", GRAPH)
    first = client.submit("w", idempotency_key="k")
    sql("UPDATE dray.idempotency SET created_at = now() - interval '25 hours'")
    with transaction(database) as one:
        one.execute("SELECT dray.submit('w', idempotency_key => 'k')::text")
        (second,) = one.fetchone()
        other = Running(lambda: client.submit("w", idempotency_key="k"))
        until_blocked(sql)
        commit(one)
    assert other.result() == second != first
    assert counts(sql)["execution"] == 2


def test_the_other_takes_it_over_where_the_first_rolls_back(client: Client, sql: Sql, database: str) -> None:
    client.apply_workflow("w", GRAPH)
    client.submit("w", idempotency_key="k")
    sql("UPDATE dray.idempotency SET created_at = now() - interval '25 hours'")
    with transaction(database) as one:
        one.execute("SELECT dray.submit('w', idempotency_key => 'k')::text")
        (second,) = one.fetchone()
        other = Running(lambda: client.submit("w", idempotency_key="k"))
        until_blocked(sql)
    assert other.result() != second
    assert sql("SELECT execution_id::text FROM dray.idempotency") == [(other.result(),)]
    assert counts(sql)["execution"] == 2


def test_a_key_that_is_in_use_may_be_submitted_by_many_at_once(client: Client, database: str) -> None:
    """In either order: none keeps another waiting, so none can lock another out."""
    client.apply_workflow("w", GRAPH)
    first, second = client.submit("w", idempotency_key="a"), client.submit("w", idempotency_key="b")
    with transaction(database) as one:
        one.execute("SET lock_timeout = '10s'")
        for key, execution in (("a", first), ("b", second)):
            one.execute("SELECT dray.submit('w', idempotency_key => %s)::text", [key])
            assert one.fetchone() == (execution,)
        with transaction(database) as other:
            other.execute("SET lock_timeout = '10s'")
            for key, execution in (("b", second), ("a", first)):
                other.execute("SELECT dray.submit('w', idempotency_key => %s)::text", [key])
                assert other.fetchone() == (execution,)
