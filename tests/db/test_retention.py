"""What ended long ago is deleted, with all that is kept of it, and nothing else."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from cluster import housekeeper
from store.client import Client
from store.driver_store import DriverStore
from tests.db.helpers import GRAPH, claimed, end, outcome, register
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
    age(sql, ended(store, client), 40)
    client.submit("w", idempotency_key="old")
    sql("UPDATE dray.idempotency SET created_at = now() - interval '40 days'")
    sql("UPDATE dray.runner SET ended_at = now() - interval '40 days'")
    young = ended(store, client)
    assert client.prune(timedelta(days=30), dry_run=True) == 1
    assert client.prune(timedelta(days=30)) == 1
    assert {row[0] for row in sql("SELECT id::text FROM dray.execution")} >= {young}
    left = counts(sql)
    assert left["idempotency"] == 0
    assert left["checkpoint"] == left["signal"] == 1
    assert client.prune(timedelta(days=30)) == 0


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
    monkeypatch.setattr("store.client_retention.BATCH", 2)
    for days in range(40, 45):
        age(sql, ended(store, client), days)
    assert client.prune(timedelta(days=30)) == 5


def test_a_driver_does_it_by_itself(store: DriverStore, client: Client, sql: Sql) -> None:
    age(sql, ended(store, client), 40)
    keeper = housekeeper.Housekeeper(store, register(store), 5.0, lambda event: None, lambda: None, keep=30.0 * DAY)
    keeper._prune()
    assert counts(sql)["execution"] == 0


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


def test_a_large_outcome_is_stored_compressed_and_apart(store: DriverStore, client: Client, sql: Sql) -> None:
    driver, (claim,) = claimed(store, client)
    large = json.dumps({"rows": [{"name": f"row {index}", "text": "the same text"} for index in range(15_000)]})
    assert len(large) > 512 << 10
    store.commit(driver, [outcome(claim.id, text=large), outcome(claim.id, "b", text=large)], [])
    ((stored, apart),) = sql(
        "SELECT max(pg_column_size(outcome)), pg_relation_size(reltoastrelid) FROM dray.checkpoint, pg_class "
        "WHERE pg_class.oid = 'dray.checkpoint'::regclass GROUP BY 2"
    )
    assert stored < len(large) / 2
    assert apart >= stored
