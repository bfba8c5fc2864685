"""What is read for the judge: in one snapshot, in pieces that end in time, and nothing is written."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from dray.cluster.cli.history import judge
from dray.cluster.history.judge import Question
from dray.store import history
from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.driver_store import DriverStore
from dray.store.errors import StoreError
from dray.store.history import HistoryReader
from tests.db.helpers import claimed, end, outcome
from tests.pg import Sql

SLOW = """
    CREATE FUNCTION public.slow() RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN true; END $$;
    ALTER TABLE dray.checkpoint ENABLE ROW LEVEL SECURITY;
    CREATE POLICY slow ON dray.checkpoint USING (public.slow());
    DO $$ BEGIN CREATE ROLE operator LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    GRANT USAGE ON SCHEMA dray TO operator;
    GRANT SELECT ON ALL TABLES IN SCHEMA dray TO operator
"""


def made(store: DriverStore, client: Client, count: int) -> list[str]:
    driver, claims = claimed(store, client, count)
    ids = [each.id for each in claims]
    store.commit(driver, [outcome(each, node) for each in ids for node in "ab"], [end(each) for each in ids])
    return sorted(ids, reverse=True)


def test_batches_are_the_newest_first_and_end_at_the_limit(
    engine: Engine, store: DriverStore, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = made(store, client, 7)
    monkeypatch.setattr(history, "BATCH", 3)
    batches = list(HistoryReader(engine).batches())
    assert [[row[0] for row in each.executions] for each in batches] == [ids[:3], ids[3:6], ids[6:]]
    assert [len(each.records) for each in batches] == [6, 6, 2]
    found = HistoryReader(engine).batches(limit=4)
    assert [row[0] for each in found for row in each.executions] == ids[:4]


def test_an_execution_that_is_too_large_is_named_and_the_others_are_read(
    engine: Engine, store: DriverStore, client: Client, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = made(store, client, 3)
    sql("INSERT INTO dray.checkpoint (execution_id, at, attempt, kind, node_key) "
        "SELECT %(id)s::uuid, clock_timestamp(), 1, 'c', 'n' || n FROM generate_series(1, 9) n", id=ids[1])  # fmt: skip
    monkeypatch.setattr(history, "LARGEST", 10)
    batches = list(HistoryReader(engine).batches())
    assert [each for batch in batches for each in batch.unread] == [ids[1]]
    assert [row[0] for batch in batches for row in batch.executions] == [ids[0], ids[2]]
    assert judge(engine, Question()).unread == [ids[1]]


def test_a_batch_that_takes_too_long_is_halved(
    own_database: None, engine: Engine, store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    ids = made(store, client, 8)
    sql(SLOW)
    operator = connect(database.replace("postgres@", "operator@"))
    try:
        # A record takes 0.05 s there: 16 of them are too many for half a second, 2 are not.
        reader = HistoryReader(operator, timeout=0.5)
        batches = list(reader.batches())
        assert [row[0] for each in batches for row in each.executions] == ids
        assert len(batches) > 1
        with pytest.raises(StoreError):
            list(HistoryReader(operator, timeout=0.01).batches())
    finally:
        operator.dispose()


def test_nothing_can_be_written_in_its_transaction(engine: Engine, store: DriverStore, client: Client) -> None:
    made(store, client, 1)
    reader = HistoryReader(engine)
    with pytest.raises(StoreError, match="read-only"), reader._snapshot() as found:
        found.exec_driver_sql("DELETE FROM dray.execution")
    assert len(list(reader.batches())) == 1
