"""What monitoring reads: right, and of open executions only."""

from __future__ import annotations

from sqlalchemy import Engine

from store.client import Client
from store.driver_store import DriverStore
from tests.db.helpers import QUEUES, end, register, submitted
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
        " SELECT dray.uuid7(), workflow_id, 'completed', 'old', now() FROM dray.execution, generate_series(1, 20000)"
    )
    sql("ANALYZE dray.execution")
    plan = "\n".join(row[0] for row in sql("EXPLAIN SELECT * FROM dray.queue_stats"))
    assert "Seq Scan" not in plan
    assert [each[0] for each in store.queue_stats()] == ["default"]


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
