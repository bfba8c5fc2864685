"""What a node costs in the write-ahead log; how it is made up: python -m benchmarks.wal."""

from __future__ import annotations

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.records import Kind, Outcome
from tests.db.helpers import QUEUES, end, register, submitted
from tests.pg import Sql

EXECUTIONS = 200
NODES = 10
TEXT = '{"x": "' + "y" * 90 + '"}'


def test_a_node_logs_at_most_450_bytes(store: DriverStore, client: Client, sql: Sql) -> None:
    """Claim, outcomes of 100 bytes, and end, of executions of 10 nodes in a line. It is 382."""
    submitted(client, EXECUTIONS)
    driver = register(store)
    runner = store.register_runner(driver, "f" * 56, "here", 1, "runner")

    def written() -> int:
        return int(sql("SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0])

    before = written()
    claims = store.claim(driver, QUEUES, EXECUTIONS)
    for n in range(NODES):
        outcomes = [Outcome(each.id, f"n{n}", 1, Kind.COMPLETED, None, TEXT, None, runner, 3) for each in claims]
        store.commit(driver, outcomes, [end(each.id) for each in claims] if n == NODES - 1 else [])
    assert (written() - before) / (EXECUTIONS * NODES) <= 450
