"""A database that is away, at the start or in the middle: the driver waits, says so, loses nothing, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.embedded import EmbeddedPostgres
from dray.store.migrate import migrate
from tests.chaos.drivers import driver
from tests.chaos.test_failpoints import GRAPH, check_promises, submit
from tests.pg import Sql

pytestmark = pytest.mark.chaos

# Of nodes that take half a second: 20 at once, so that there is work left when the first execution has completed.
SLOW = {**GRAPH, "nodes": [GRAPH["nodes"][0], *({**each, "config": {"seconds": 0.5}} for each in GRAPH["nodes"][1:])]}


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of this test's own, to be stopped and started."""
    found = EmbeddedPostgres(tmp_path / "pg")
    found.start()
    engine = connect(found.url, pool_size=1)
    migrate(engine)
    engine.dispose()
    yield found
    found.stop(immediate=True)


def end_leases(url: str) -> None:
    engine = connect(url, pool_size=1)
    Sql(engine)("UPDATE dray.driver SET lease_until = now() - interval '1 second'")
    engine.dispose()


def test_a_database_that_goes_away_and_comes_back_costs_nothing(own_server: EmbeddedPostgres, tmp_path: Path) -> None:
    with Client(own_server.url) as client:
        ids = submit(client, SLOW, 60)
        with driver(own_server.url, tmp_path, concurrency=20, claim_batch=10, lease_ttl=30, heartbeat=1) as running:
            running.wait_said("execution completed")
            own_server.stop(immediate=True)
            running.wait_said("waiting for the database")
            own_server.start()
            running.wait_said("the database is back")
            check_promises(client, ids, tmp_path)
            assert running.stop() == 0, running.said
            assert "the lease is lost" not in running.said


def test_a_driver_waits_for_a_database_that_is_not_there_yet(own_server: EmbeddedPostgres, tmp_path: Path) -> None:
    with Client(own_server.url) as client:
        ids = submit(client, count=20)
        own_server.stop()
        with driver(own_server.url, tmp_path) as running:
            running.wait_said("waiting for the database")
            own_server.start()
            running.wait_said("Workflow worker started")
            check_promises(client, ids, tmp_path)
            assert running.stop() == 0, running.said


def test_a_lease_that_runs_out_meanwhile_makes_a_new_incarnation(own_server: EmbeddedPostgres, tmp_path: Path) -> None:
    with Client(own_server.url) as client:
        ids = submit(client, SLOW, 60)
        with driver(own_server.url, tmp_path, concurrency=20, claim_batch=10, lease_ttl=2, heartbeat=0.5) as running:
            running.wait_said("execution completed")
            own_server.stop(immediate=True)
            running.wait_said("the lease is lost")
            own_server.start()
            check_promises(client, ids, tmp_path)
            assert running.stop() == 0, running.said


def test_a_driver_that_is_told_to_stop_while_the_database_is_away_stops(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with Client(own_server.url) as client:
        ids = submit(client, SLOW, 60)
        with driver(own_server.url, tmp_path, concurrency=20, drain_timeout=1, lease_ttl=30, heartbeat=1) as running:
            running.wait_said("execution completed")
            own_server.stop(immediate=True)
            running.wait_said("waiting for the database")
            assert running.stop() == 0, running.said
            assert "cannot give back what is held" in running.said
        own_server.start()
        end_leases(own_server.url)  # 30 s earlier than by itself
        with driver(own_server.url, tmp_path):
            check_promises(client, ids, tmp_path)
