"""What monitoring reads: right, and of open executions only."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.queries import QUERIES
from tests.db.helpers import QUEUES, end, register, submitted, transaction
from tests.pg import Sql

SOON = 5.0


def test_a_queue_is_counted_by_status(store: DriverStore, client: Client, sql: Sql) -> None:
    submitted(client, 7)
    driver = register(store)
    claims = store.claim(driver, QUEUES, 4)
    store.commit(driver, [], [end(claims[0].id)])
    sql("UPDATE dray.execution SET run_at = now() - interval '90 seconds' WHERE status = 'queued'")
    ((queue, counts, oldest),) = store.queue_stats()
    assert (queue, counts) == ("default", {"queued": 3, "running": 3, "waiting": 0, "paused": 0})
    assert 90 <= oldest < 3600
    assert client.stats()["open"]["default"]["queued"] == 3


def test_waiting_and_paused_are_counted(store: DriverStore, client: Client) -> None:
    one, _ = submitted(client, 2)
    client.pause(one)
    driver = register(store)
    (claim,) = store.claim(driver, QUEUES, 9)
    store.commit(driver, [], [end(claim.id)._replace(status="waiting", wake_in=3600.0)])
    ((_, counts, oldest),) = store.queue_stats()
    assert counts == {"queued": 0, "running": 0, "waiting": 1, "paused": 1}
    assert oldest == 0


def test_what_has_ended_is_not_read(store: DriverStore, client: Client, sql: Sql) -> None:
    submitted(client, 1)
    sql(
        "INSERT INTO dray.execution (id, workflow_id, status, queue, finished_at)"
        " SELECT dray.uuid7(), workflow_id, 'completed', 'old', now() - interval '1 day'"
        " FROM dray.execution, generate_series(1, 20000)"
    )
    sql("ANALYZE dray.execution")
    plan = "\n".join(row[0] for row in sql("EXPLAIN SELECT * FROM dray.queue_stats"))
    assert "Seq Scan" not in plan
    assert [each[0] for each in store.queue_stats()] == ["default"]


def test_what_ended_in_five_minutes_is_a_rate(store: DriverStore, client: Client, sql: Sql) -> None:
    ids = submitted(client, 12)
    driver = register(store)
    claims = store.claim(driver, QUEUES, 12)
    endings = ["failed", "cancelled", *["completed"] * 9]
    store.commit(driver, [], [end(each.id, ending) for each, ending in zip(claims[1:], endings, strict=True)])
    sql("UPDATE dray.execution SET finished_at = now() - interval '6 minutes' WHERE id = %(id)s::uuid", id=ids[11])
    sql("UPDATE dray.execution SET queue = 'idle' WHERE id = ANY (%(ids)s::uuid[])", ids=ids[1:4])
    found = client.stats()["open"]
    assert found["default"] == {
        "queued": 0, "running": 1, "waiting": 0, "paused": 0, "oldest_seconds": 0, "finished_per_minute": 7 / 5,
    }  # fmt: skip
    assert found["idle"]["finished_per_minute"] == 3 / 5
    assert [each[0] for each in store.queue_stats()] == ["default", "idle"]


@pytest.mark.parametrize("analysed", [True, False])
def test_the_rate_reads_the_five_minutes_and_who_does_not_ask_does_not(
    store: DriverStore, client: Client, sql: Sql, database: str, analysed: bool
) -> None:
    sql("ALTER TABLE dray.execution SET (autovacuum_enabled = off)")
    submitted(client, 1)
    sql(
        "INSERT INTO dray.execution (id, workflow_id, status, queue, finished_at)"
        " SELECT dray.uuid7(), workflow_id, 'completed', 'q' || n %% 4, now() - CASE WHEN n > 300 THEN interval '1 day'"
        " ELSE interval '0' END FROM dray.execution, generate_series(1, %(count)s) n",
        count=20_000,
    )
    if analysed:
        sql("ANALYZE dray.execution")

    def read(name: str) -> tuple[int, int]:
        with transaction(database) as cursor:
            cursor.execute(QUERIES[name])
            assert len(cursor.fetchall()) == 5
            cursor.execute("SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'execution'")
            scans, rows = cursor.fetchone()
            return int(scans), int(rows)

    scans, rows = read("queue_rates")
    assert (scans, 300 <= rows < 340) == (0, True), rows
    scans, rows = read("queue_stats")
    assert (scans, rows < 40) == (0, True), rows


def test_work_is_left_until_there_is_none(store: DriverStore, client: Client, sql: Sql) -> None:
    driver = register(store)
    assert not store.work_left(driver, QUEUES, SOON)
    submitted(client, 1)
    assert store.work_left(driver, QUEUES, SOON)
    assert not store.work_left(driver, ["other"], SOON)
    client.pause_queue("default")
    assert not store.work_left(driver, QUEUES, SOON)
    client.resume_queue("default")
    (claim,) = store.claim(driver, QUEUES, 1)
    assert store.work_left(driver, QUEUES, SOON)
    store.commit(driver, [], [end(claim.id)._replace(status="waiting", wake_in=3600.0)])
    assert not store.work_left(driver, QUEUES, SOON)
    assert store.work_left(driver, QUEUES, 4000.0)


def test_connections_are_counted(store: DriverStore, engine: Engine) -> None:
    store.queue_stats()
    assert store.open_connections() == engine.pool.checkedin() + engine.pool.checkedout() > 0  # type: ignore[attr-defined]
