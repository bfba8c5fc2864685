"""The statements that run all the time read what they need and nothing else, however much history there is.

Asked of the real plans: with statistics, with none at all (a table that was just filled, or never analysed), and with
the plans that a connection made and kept while there were two executions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.driver_store import DriverStore, claim_parameters
from dray.store.queries import QUERIES
from dray.store.records import Kind
from tests.db.helpers import (
    GRAPH,
    QUEUES,
    claimed,
    commit_given,
    end,
    expire,
    outcome,
    register,
    submitted,
    transaction,
)
from tests.pg import Sql, a_database

HISTORY = 120_000
QUEUED = 40
HELD = 500
LABELLED = 20
TABLES = ("execution", "execution_input", "checkpoint")
FILL = """
    INSERT INTO dray.execution
        (id, workflow_id, status, queue, rank, owner, finished_at, wake_at, started_at, claim_count)
    SELECT dray.uuid7(), 1, s.status, 'default', now() - n * interval '1 second',
        CASE WHEN s.status = 'running' THEN %(owner)s::uuid END,
        CASE WHEN s.status IN ('completed', 'failed', 'cancelled') THEN now() END,
        CASE WHEN s.status = 'waiting' THEN now() + interval '1 day' + n * interval '1 second' END, now(), 1
    FROM generate_series(1, %(count)s) n,
        LATERAL (SELECT (ARRAY['completed', 'completed', 'failed', 'cancelled', 'waiting', 'running'])[1 + n %% 6])
        AS s (status)
"""
ADD = """
    INSERT INTO dray.execution (id, workflow_id, status, owner, wake_at, started_at)
    SELECT dray.uuid7(), 1, %(status)s, %(owner)s::uuid, %(wake_at)s::timestamptz, now()
    FROM generate_series(1, %(count)s)
"""
PRUNE = {"age": 0, "statuses": None, "most": 500, "behind": None}


class Big:
    """A database with much history, a few executions to work on, and a driver that holds some."""

    def __init__(self, store: DriverStore, client: Client, sql: Sql, url: str, kept: Any) -> None:
        self.sql, self.url, self.kept = sql, url, kept
        for table in TABLES:
            sql(f"ALTER TABLE dray.{table} SET (autovacuum_enabled = off)")
        if kept is None:
            client.apply_workflow("w", GRAPH)
        else:
            self._plan_early(store, client, kept)
        self.driver, self.late, busy = register(store), register(store), register(store)
        sql(FILL, owner=busy, count=HISTORY)
        for driver in (self.driver, self.late):
            sql(ADD, status="running", owner=driver, wake_at=None, count=HELD)
        sql(ADD, status="queued", owner=None, wake_at=None, count=QUEUED)
        sql(ADD, status="waiting", owner=None, wake_at="2020-01-01", count=QUEUED)
        sql("UPDATE dray.execution SET control = 'cancel' WHERE owner = %(id)s::uuid", id=self.driver)
        sql("INSERT INTO dray.execution_input SELECT id, '{}' FROM dray.execution")
        sql(
            'UPDATE dray.execution_input SET labels = \'{"customer": "17", "kind": "a"}\' WHERE execution_id = ANY'
            " (ARRAY(SELECT id FROM dray.execution WHERE status = 'failed' ORDER BY id LIMIT %(count)s))",
            count=LABELLED,
        )
        sql(
            "INSERT INTO dray.checkpoint (execution_id, at, attempt, kind, node_key, outcome)"
            " SELECT id, now(), 1, 'c', 'a', '1' FROM dray.execution WHERE status <> 'queued'"
        )

    def _plan_early(self, store: DriverStore, client: Client, kept: Any) -> None:
        """Have the connection make its plans for tables that are known to be tiny."""
        driver, (claim, _) = claimed(store, client, 2)
        submitted(client)
        self.sql("ANALYZE")
        for _ in range(8):
            kept.execute(QUERIES["claim_if_fenced"], claim_parameters(driver, QUEUES, 500))
            given = commit_given(driver, [outcome(claim.id)], [end(claim.id)])
            for again in (False, True):
                kept.execute(QUERIES["commit_if_fenced"], {**given, "again": again})
            kept.execute(QUERIES["release"], {"driver": driver, "most": 1000})
            kept.execute(QUERIES["reap_next"], {"done": [], "most": 1000})
            kept.execute(QUERIES["prune"], {**PRUNE, "age": -60})
            kept.connection.rollback()
        for table in TABLES:
            self.sql(f"DELETE FROM dray.{table}")  # TRUNCATE would have plans made anew

    def read(self, statement: str, **given: Any) -> tuple[int, int]:
        """Sequential scans of the big tables, and rows read of dray.execution, of a statement that is rolled back."""
        with nullcontext(self.kept) if self.kept else transaction(self.url) as cursor:
            before = self._counted(cursor)
            cursor.execute(statement, given)
            scans, rows = (now - then for now, then in zip(self._counted(cursor), before, strict=True))
            cursor.connection.rollback()
            return scans, rows

    def _counted(self, cursor: Any) -> tuple[int, int]:
        """Of the connection, which keeps its counts for a while after a transaction has ended."""
        cursor.execute(
            "SELECT sum(seq_scan), sum(seq_tup_read + idx_tup_fetch) FILTER (WHERE relname = 'execution')"
            " FROM pg_stat_xact_user_tables WHERE relname IN ('execution', 'execution_input', 'checkpoint')"
        )
        scans, rows = cursor.fetchone()
        return int(scans), int(rows)


@pytest.fixture(scope="module", params=["no statistics", "statistics", "plans of tiny tables"])
def big(request: pytest.FixtureRequest, server: str) -> Iterator[Big]:
    early = request.param == "plans of tiny tables"
    with a_database(server) as url, transaction(url) if early else nullcontext() as kept:
        engine = connect(url, pool_size=4)
        sql = Sql(engine)
        found = Big(DriverStore(engine), Client(engine), sql, url, kept)
        if request.param == "statistics":
            sql("ANALYZE")
        assert (sql("SELECT count(*) FROM pg_stats WHERE tablename = 'execution'") == [(0,)]) == (
            request.param == "no statistics"
        )
        yield found
        engine.dispose()


def test_a_claim_reads_the_rows_that_it_takes(big: Big) -> None:
    given = claim_parameters(big.driver, ["default", "none"], 500)
    scans, rows = big.read(QUERIES["claim_if_fenced"], **given)
    assert (scans, rows <= 3 * QUEUED) == (0, True), rows


def test_a_claim_that_finds_nothing_reads_nothing(big: Big) -> None:
    scans, rows = big.read(QUERIES["claim_if_fenced"], **claim_parameters(big.driver, ["none"], 500))
    assert (scans, rows) == (0, 0)


def test_wake_due_reads_what_is_due(big: Big) -> None:
    scans, rows = big.read(QUERIES["wake_due"], limit=1000)
    assert (scans, rows <= 3 * QUEUED + 1) == (0, True), rows


def test_wake_due_with_nothing_due_reads_one_row(big: Big) -> None:
    with transaction(big.url) as cursor:
        cursor.execute("UPDATE dray.execution SET status = 'queued', wake_at = NULL WHERE wake_at < now()")
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + QUERIES["wake_due"], {"limit": 1000})
        assert filtered(cursor.fetchone()[0][0]["Plan"]) <= QUEUED  # rows that the transaction above has left behind


def test_controls_read_the_marked_rows_of_the_driver(big: Big) -> None:
    assert big.read(QUERIES["controls_of_driver"], driver=big.driver) == (0, HELD)
    assert big.read(QUERIES["controls_of_driver"], driver=big.late) == (0, 0)


def test_news_of_a_driver_reads_what_is_marked(big: Big) -> None:
    statement = QUERIES["news_of_driver"]
    assert big.read(statement, driver=big.driver, again=False) == (0, HELD)  # those with a control, in the same index
    assert big.read(statement, driver=big.late, again=False) == (0, 0)


def test_no_marks_read_nothing(big: Big) -> None:
    assert big.read(QUERIES["place_marks"], limit=1000) == (0, 0)


def test_what_is_over_its_time_is_looked_for_in_queues_that_are_paused_only(big: Big) -> None:
    given = {"queues": ["default"], "fallback": 3600.0, "limit": 500}
    assert big.read(QUERIES["end_overdue"], **given) == (0, 0)
    paused = f"SELECT dray.pause_queue('default'); {QUERIES['end_overdue']}"
    scans, rows = big.read(paused, **given)
    assert (scans, rows) == (0, QUEUED)


def test_a_cancel_reads_its_family_only(big: Big) -> None:
    ((queued,),) = big.sql("SELECT id FROM dray.execution WHERE status = 'queued' LIMIT 1")
    scans, rows = big.read("SELECT dray.cancel(%(id)s)", id=queued)
    assert (scans, rows <= 4) == (0, True), rows


def test_a_claim_of_the_unheard_reads_what_the_driver_holds(big: Big) -> None:
    scans, rows = big.read(
        QUERIES["claim_unheard"], driver=big.driver, held=[], limit=HELD, budget=1 << 40, crash_limit=3
    )
    assert (scans, rows <= 4 * HELD) == (0, True), rows


def test_reap_and_release_read_what_the_driver_holds(big: Big) -> None:
    scans, rows = big.read(QUERIES["release"], driver=big.driver, most=1000)
    assert (scans, rows <= 3 * HELD) == (0, True), rows
    expire(big.sql, big.late)
    scans, rows = big.read(QUERIES["reap_next"], done=[], most=1000)
    assert (scans, rows <= 3 * HELD + 3) == (0, True), rows


def test_a_commit_reads_what_it_settles(big: Big) -> None:
    ids = [str(row[0]) for row in big.sql("SELECT id FROM dray.execution WHERE owner = %(id)s::uuid", id=big.driver)]
    columns = {
        "execution_ids": ids,
        "node_keys": ["b"] * HELD,
        "attempts": [1] * HELD,
        "kinds": [Kind.COMPLETED] * HELD,
    }
    columns |= {"branches": [None] * HELD, "outcomes": ["1"] * HELD, "waits": [None] * HELD, "runners": [None] * HELD}
    settle = {"settle_ids": ids, "statuses": ["completed"] * HELD, "wake_in": [None] * HELD, "errors": [None] * HELD}
    settle |= {"claims": [None] * HELD, "held_ids": ids, "held_claims": [1] * HELD}
    settle |= {name: "{}" for name in commit_given("", [], []) if name.startswith(("child_", "taken_"))}
    for again in (False, True):
        given = {"driver": big.driver, "again": again, "durations": [None] * HELD, **columns, **settle}
        scans, rows = big.read(QUERIES["commit_if_fenced"], **given)
        assert (scans, rows <= 3 * HELD) == (0, True), rows


def test_prune_reads_a_few_executions_and_deletes_what_it_found_there(big: Big) -> None:
    scans, rows = big.read(QUERIES["prune"], **{**PRUNE, "age": -60})
    assert (scans, 500 < rows <= 8 * 500) == (0, True), rows
    ((behind,),) = big.sql("SELECT id::text FROM dray.execution ORDER BY id DESC OFFSET 3000 LIMIT 1")
    scans, rows = big.read(QUERIES["prune"], **{**PRUNE, "age": -60, "behind": behind})
    assert (scans, 500 < rows <= 8 * 500) == (0, True), rows


def test_prune_reads_nothing_where_nothing_is_old(big: Big) -> None:
    scans, rows = big.read(QUERIES["prune"], **{**PRUNE, "age": 86_400})
    assert (scans, rows <= 3 * QUEUED) == (0, True), rows  # what rolled-back transactions left before the oldest


def test_the_client_reads_what_it_shows(big: Big) -> None:
    ((execution,),) = big.sql("SELECT id::text FROM dray.execution WHERE status = 'completed' LIMIT 1")
    assert big.read(QUERIES["get_execution"], id=execution)[0] == 0
    assert big.read(QUERIES["list_attempts"], id=execution)[0] == 0
    assert big.read(QUERIES["load_checkpoints"], ids=[execution])[0] == 0
    assert big.read(QUERIES["load_outcomes"], ids=[execution], keys=["a"], attempts=[1])[0] == 0
    if not big.kept:  # for people: a plan of each time's own is good enough
        given = dict.fromkeys(("workflow", "statuses", "labels", "before", "queue", "since", "until"))
        scans, rows = big.read(QUERIES["list_executions"], limit=50, **given)
        assert (scans, rows <= 60) == (0, True), rows


def test_a_list_reads_what_has_the_labels(big: Big) -> None:
    """The oldest ones, so that whoever goes through all from the newest reads all."""
    if big.kept:
        pytest.skip("for people: a plan of each time's own is good enough")
    given = dict.fromkeys(("workflow", "statuses", "before", "queue", "since", "until"))
    scans, rows = big.read(QUERIES["list_executions"], limit=50, labels='{"customer": "17"}', **given)
    assert (scans, rows <= 2 * LABELLED) == (0, True), rows


def test_a_list_of_a_time_reads_that_time(big: Big) -> None:
    if big.kept:
        pytest.skip("for people: a plan of each time's own is good enough")
    given = dict.fromkeys(("workflow", "statuses", "before", "queue", "labels", "since"))
    scans, rows = big.read(QUERIES["list_executions"], limit=50, until="2020-01-01", **given)
    assert (scans, rows <= 10) == (0, True), rows  # a few by the planner, to know the range of ids


def test_bulk_reads_what_has_the_labels(big: Big) -> None:
    given = {"action": "retry", "filter": '{"labels": {"customer": "17"}}'}
    assert big.read(QUERIES["bulk"], most=500, behind=None, latest=False, reason=None, by=None, **given)[0] == 0
    scans, rows = big.read(QUERIES["bulk_count"], **given)
    assert (scans, rows <= 3 * LABELLED) == (0, True), rows


def filtered(plan: dict[str, Any]) -> int:
    """Rows that were read and thrown away, in the whole plan."""
    return int(plan.get("Rows Removed by Filter", 0)) + sum(filtered(each) for each in plan.get("Plans", ()))


def buffers_of_a_claim(sql: Sql, url: str, driver: str, count: int) -> int:
    """Pages touched by a claim of 500 where so many are queued."""
    sql("TRUNCATE dray.execution")
    sql(
        "INSERT INTO dray.execution (id, workflow_id, rank)"
        " SELECT dray.uuid7(), 1, now() + n * interval '1 ms' FROM generate_series(1, %(n)s) n",
        n=count,
    )
    with transaction(url) as cursor:
        cursor.execute(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + QUERIES["claim_if_fenced"],
            claim_parameters(driver, ["default"], 500),
        )
        found = cursor.fetchone()[0][0]["Plan"]
        return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])


@pytest.mark.usefixtures("own_database")
def test_a_claim_costs_the_same_however_many_are_queued(store: DriverStore, sql: Sql, database: str) -> None:
    driver = register(store)
    sql("ALTER TABLE dray.execution SET (autovacuum_enabled = off)")
    few = buffers_of_a_claim(sql, database, driver, 1_000)
    many = buffers_of_a_claim(sql, database, driver, 200_000)
    assert many <= 1.5 * few, (few, many)


def test_functions_that_take_plans_away_are_never_compiled(sql: Sql) -> None:
    """Before Postgres 18 a plan that was taken away costs 10,000,000,000, which JIT finds worth a second of compiling,
    at every call. The embedded Postgres is newer and has no JIT, so only the settings can be looked at here."""
    found = sql(
        "SELECT proname, proconfig @> ARRAY['jit=off'] FROM pg_proc WHERE pronamespace = 'dray'::regnamespace"
        " AND array_to_string(proconfig, ' ') LIKE '%%enable_%%'"
    )
    assert len(found) > 10
    assert [name for name, without in found if not without] == []
