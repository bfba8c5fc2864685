"""Everything a driver and a client do works through a pooler that gives each transaction another session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.cluster.schedules import Timing
from dray.store.client.client import Client
from dray.store.connection import connect, wait_until_up
from dray.store.migrate import migrate, verify
from dray.store.url import DatabaseURL
from tests.chaos.drivers import PATIENCE, driver
from tests.chaos.pooler import PROGRAM, pooler
from tests.chaos.test_failpoints import check_promises, submit
from tests.pg import Sql

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed (apt-get install pgbouncer)"),
]


@pytest.fixture
def pooled(database: str) -> Iterator[str]:
    """The URL of this test's database behind PgBouncer in transaction mode, with two sessions for everybody."""
    if "host" not in DatabaseURL.of(database).url.query:
        pytest.skip("TEST_SERVER is not on a socket")
    with pooler(database) as url:
        yield url


def test_a_driver_and_its_clients_work_through_a_transaction_pooler(pooled: str, sql: Sql, tmp_path: Path) -> None:
    assert DatabaseURL.of(pooled).is_transaction_pooler
    engine = connect(pooled)
    try:
        assert wait_until_up(engine)
        migrate(engine)
        verify(engine)
    finally:
        engine.dispose()
    with Client(pooled) as client:
        ids = submit(client)
        client.apply_workflow(
            "tick", canonical({"nodes": [{"id": "a", "type": "trigger"}], "edges": []}, {**load_handlers()})
        )
        client.set_schedule("tick", "tick", Timing.every(1), overlap="allow")
        with driver(pooled, tmp_path, concurrency=20, claim_batch=10, failpoints="before_commit@5:kill") as first:
            assert first.wait_ended() == -9, first.said
        with driver(pooled, tmp_path) as second:
            check_promises(client, ids, tmp_path)
            until = time.monotonic() + PATIENCE
            while len(client.list("tick", "completed")) < 2:
                assert time.monotonic() < until, second.said
            assert second.stop() == 0, second.said
        assert client.stats()["drivers"] == []
    listening = sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dray listener'")
    assert listening == [(0,)], "nobody listens behind a pooler"
