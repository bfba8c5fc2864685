"""What is held back costs a claim nothing, however much it is: pages that a claim touches, not time.

Asked of a connection that has made and kept its plans while there were a few executions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.driver_store import DriverStore, claim_parameters
from dray.store.queries import QUERIES
from tests.db.helpers import GRAPH, QUEUES, end, register, transaction
from tests.pg import Sql, a_database

FEW, MANY = 200, 100_000
HELD = """
    INSERT INTO dray.execution
        (id, workflow_id, status, rank, owner, started_at, stage, gate, concurrency_key, rate_key, lane, tenant)
    SELECT dray.uuid7(), w.id, CASE WHEN x.owner IS NULL THEN 'queued' ELSE 'running' END,
        now() + n * interval '1 ms', x.owner, CASE WHEN x.owner IS NOT NULL THEN now() END,
        x.stage, x.gate, x.key, x.rate_key,
        CASE WHEN x.owner IS NULL
            THEN dray.lane_of(coalesce(x.stage, 'p'), x.gate, x.key, x.rate_key, 'default', x.tenant) END, x.tenant
    FROM dray.workflow w, generate_series(1, %(count)s) n,
        LATERAL (SELECT {columns}) x (owner, stage, gate, key, rate_key, tenant)
    WHERE w.name = %(workflow)s ORDER BY n
"""


class Held:
    """A database where a driver has claimed with limits when there was little."""

    def __init__(self, url: str, sql: Sql, store: DriverStore, client: Client, cursor: Any) -> None:
        self.sql, self.store, self.client, self._cursor = sql, store, client, cursor
        sql("ALTER TABLE dray.execution SET (autovacuum_enabled = off)")
        self.driver, self.other = register(store), register(store)
        limits = {
            "keys": {"key": ["k"], "key_limit": 1},
            "whole": {"concurrency": 1},
            "rates": {"rate": {"limit": 1, "per": 3600.0, "key": ["k"]}},
            "plain": {"tenant": ["t"]},
        }
        for name, each in limits.items():
            client.apply_workflow(name, {**GRAPH, "limits": each})
            client.submit_many(name, [{"k": n % 3, "t": n % 3} for n in range(9)])
        for _ in range(8):
            self.cost()
        while found := store.claim(self.driver, QUEUES, 100):
            store.commit(self.driver, [], [end(each.id) for each in found])

    def fill(self, workflow: str, columns: str, count: int = MANY) -> None:
        for table in ("execution", "tenant", "tenant_change", "gate_change"):
            self.sql(f"DELETE FROM dray.{table}")
        self.sql(HELD.format(columns=columns), workflow=workflow, count=count)
        self.sql("INSERT INTO dray.execution_input SELECT id, '{}' FROM dray.execution ON CONFLICT DO NOTHING")
        self.sql("VACUUM dray.execution, dray.gate_change, dray.tenant_change")

    def cost(self) -> tuple[int, int]:
        """Pages that a claim touches, and what it takes; rolled back.

        The least of three: one whose plans an autoanalyze has just thrown away reads the catalog, 100 pages and more.
        """
        return min(self._claim() for _ in range(3))

    def _claim(self) -> tuple[int, int]:
        given = claim_parameters(self.driver, QUEUES, 10)
        self._cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {QUERIES['claim_if_fenced']}", given)
        plan = self._cursor.fetchone()[0][0]["Plan"]
        self._cursor.execute("SELECT count(*) FROM dray.execution WHERE owner = %s::uuid", (self.driver,))
        (taken,) = self._cursor.fetchone()
        self._cursor.connection.rollback()
        return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], taken


@pytest.fixture(scope="module")
def held(server: str) -> Iterator[Held]:
    with a_database(server) as url, transaction(url) as cursor:
        engine = connect(url, pool_size=4)
        yield Held(url, Sql(engine), DriverStore(engine), Client(engine), cursor)
        engine.dispose()


BUSY = "CASE WHEN n = 1 THEN '{driver}'::uuid END, CASE WHEN n = 1 THEN 'p' ELSE '{stage}' END, "
SCENES = {
    "one key at its limit": ("keys", "k", "'keys', 'busy', NULL, NULL"),
    "one workflow at its limit": ("whole", "w", "'whole', NULL, NULL, NULL"),
    "one rate used up": ("rates", "r", "'rates', NULL, 'busy', NULL"),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_line_of_100_000_at_one_gate_costs_a_claim_nothing(held: Held, scene: str) -> None:
    workflow, stage, columns = SCENES[scene]
    costs = []
    for count in (FEW, MANY):
        held.fill(workflow, BUSY.format(driver=held.other, stage=stage) + columns, count)
        held.client.submit_many("plain", range(3))
        held.sql(
            "INSERT INTO dray.gate_change (gate, concurrency_key, rate_key) SELECT gate, concurrency_key, rate_key"
            " FROM dray.execution WHERE owner IS NOT NULL"
        )
        pages, taken = held.cost()
        assert taken == 3
        costs.append(pages)
    assert costs[1] <= 1.5 * costs[0] + 20, costs


@pytest.mark.parametrize("scene", SCENES)
def test_the_next_of_100_000_is_found_when_a_place_is_free(held: Held, scene: str) -> None:
    workflow, stage, columns = SCENES[scene]
    held.fill(workflow, BUSY.format(driver=held.other, stage=stage) + columns)
    held.sql(
        "UPDATE dray.execution SET status = 'completed', owner = NULL, finished_at = now(),"
        " started_at = now() - interval '2 hours' WHERE owner IS NOT NULL"
    )
    pages, taken = held.cost()
    assert taken == 1
    assert pages <= 300


def test_100_000_keys_at_their_limits_are_not_looked_at_for_one_that_is_free(held: Held) -> None:
    half = f"CASE WHEN n % 2 = 0 THEN '{held.other}'::uuid END, CASE WHEN n % 2 = 0 THEN 'p' ELSE 'k' END, "
    held.fill("keys", half.replace("%", "%%") + "'keys', (n / 2)::text, NULL, NULL")
    assert held.cost()[1] == 0
    held.sql(
        "UPDATE dray.execution SET status = 'completed', owner = NULL, finished_at = now()"
        " WHERE owner IS NOT NULL AND concurrency_key = '777'"
    )
    pages, taken = held.cost()
    assert taken == 1
    assert pages <= 300


def test_a_claim_from_tenants_reads_what_it_takes(held: Held) -> None:
    """1,000 tenants with 100 each."""
    held.fill("plain", "NULL::uuid, NULL, NULL, NULL, NULL, (n %% 1000)::text")
    held.sql("INSERT INTO dray.tenant_change (queue, name) SELECT DISTINCT queue, tenant FROM dray.execution")
    held.store.claim(held.driver, QUEUES, 1)
    held.sql("UPDATE dray.execution SET status = 'queued', owner = NULL WHERE owner IS NOT NULL")
    pages, taken = held.cost()
    assert taken == 10
    assert pages <= 1000


def test_a_queue_at_its_limit_costs_the_places_that_it_has(held: Held) -> None:
    limited: Callable[[int], None] = lambda count: held.fill(  # noqa: E731
        "plain", f"CASE WHEN n <= 5 THEN '{held.other}'::uuid END, NULL, NULL, NULL, NULL, NULL", count
    )
    limited(MANY)
    held.sql("UPDATE dray.execution SET lane = NULL")
    held.client.limit_queue("default", concurrency=5)
    pages, taken = held.cost()
    held.client.limit_queue("default", concurrency=7)
    more, some = held.cost()
    held.client.limit_queue("default")
    assert (taken, some) == (0, 2)
    assert pages <= 300
    assert more <= 300
