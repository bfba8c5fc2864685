"""A statement_timeout that is shorter than a whole batch takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dray.actors.registry import load_handlers
from dray.cluster.driver.ending import release
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.driver_store import DriverStore
from dray.store.errors import TookTooLong
from tests.chaos.effects import EFFECTS
from tests.db.helpers import QUEUES, claimed, expire, register, submitted
from tests.db.test_driver import PATIENCE, driving, until
from tests.pg import Sql

HANDLERS = load_handlers(["tests.chaos.effects"])
SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE UPDATE ON dray.execution FOR EACH ROW WHEN (OLD.owner IS DISTINCT FROM NEW.owner)
        EXECUTE FUNCTION slow();
    CREATE TRIGGER slow BEFORE INSERT ON dray.checkpoint FOR EACH ROW EXECUTE FUNCTION slow();
"""
TIMEOUT = "300ms"  # some ten rows


@pytest.fixture
def slow(own_database: None, sql: Sql, database: str) -> Iterator[Engine]:
    """An engine for a database where each row takes 20 ms, and a statement may take as much as some ten of them."""
    sql(SLOW)
    ((name,),) = sql("SELECT current_database()")
    sql(f"ALTER DATABASE {name} SET statement_timeout = '{TIMEOUT}'")
    engine = connect(database, pool_size=8)
    yield engine
    engine.dispose()


def test_the_whole_batch_is_too_much(slow: Engine, client: Client) -> None:
    submitted(client, 100)
    store = DriverStore(slow)
    with pytest.raises(TookTooLong):
        store.claim(register(store), QUEUES, 100)


def test_claims_and_commits_get_along_with_it(
    slow: Engine, client: Client, sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EFFECTS, str(tmp_path / "effects.jsonl"))
    node = {"id": "a", "type": "effect", "config": {"seconds": 0.0}}
    client.apply_workflow("w", canonical({"nodes": [node], "edges": []}, HANDLERS))
    client.submit_many("w", [{}] * 80)
    critical = client.submit("w", priority="CRITICAL")
    with driving(DriverStore(slow), concurrency=100, claim_batch=100) as (driver, _):
        assert client.wait(critical, PATIENCE).status == "completed"
        until(lambda: sql("SELECT count(*) FROM dray.execution WHERE status = 'completed'") == [(81,)])
        assert driver._claimer._claims.size < 20
    assert sql("SELECT count(*), max(claim_count) FROM dray.execution") == [(81, 1)]


def test_what_ended_drivers_held_is_given_back_with_it(
    slow: Engine, store: DriverStore, client: Client, sql: Sql
) -> None:
    sql("ALTER TABLE dray.execution DISABLE TRIGGER slow")
    dead, _ = claimed(store, client, 60)
    stopping, _ = claimed(store, client, 60)
    sql("ALTER TABLE dray.execution ENABLE TRIGGER slow")
    expire(sql, dead)
    with driving(DriverStore(slow), queues=("other",), heartbeat=0.05):
        until(lambda: sql("SELECT count(*) FROM dray.execution WHERE owner = %(id)s::uuid", id=dead) == [(0,)])
    assert release(DriverStore(slow), stopping, 15.0) is True
    assert sql("SELECT status, count(*) FROM dray.execution GROUP BY 1") == [("queued", 120)]
