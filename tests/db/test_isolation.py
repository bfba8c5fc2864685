"""A role or a database may have another default isolation: every transaction of ours says READ COMMITTED."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from dray.store.client.client import Client
from dray.store.connection import connect, read_committed
from dray.store.driver_store import DriverStore, claim_parameters
from dray.store.errors import Unavailable
from dray.store.queries import QUERIES
from tests.db.helpers import GRAPH, QUEUES, Running, commit, drive_to_the_end, end, register, transaction, until_blocked
from tests.db.test_pgbouncer import PROGRAM, pooled
from tests.pg import Sql

__all__ = ["pooled"]
LEVELS = ["repeatable read", "serializable"]


@pytest.fixture(params=LEVELS)
def strict(request: pytest.FixtureRequest, own_database: None, sql: Sql, database: str) -> Iterator[Engine]:
    """A database with such a default, and an engine for it."""
    ((name,),) = sql("SELECT current_database()")
    sql(f"ALTER DATABASE {name} SET default_transaction_isolation = '{request.param}'")
    engine = connect(database, pool_size=20)
    yield engine
    engine.dispose()


def level(store: DriverStore) -> str:
    """Of the transactions of this store."""
    QUERIES["isolation"] = "SELECT current_setting('transaction_isolation')"
    try:
        ((found,),) = store._ask("isolation", {})
        return str(found)
    finally:
        del QUERIES["isolation"]


def test_a_driver_and_a_client_say_read_committed(strict: Engine) -> None:
    assert level(DriverStore(strict)) == "read committed"
    QUERIES["isolation"] = "SELECT current_setting('transaction_isolation')"
    try:
        assert Client(strict)._ask("isolation", {}) == [("read committed",)]
    finally:
        del QUERIES["isolation"]


def test_a_limit_of_one_holds(strict: Engine) -> None:
    """Four drivers at once: each counts after it has waited for the gate, and must see what the one before it took."""
    client, sql = Client(strict), Sql(strict)
    client.apply_workflow("w", {**GRAPH, "limits": {"concurrency": 1}})
    ids = client.submit_many("w", [{}] * 60)
    assert max(drive_to_the_end(strict, sql, ids, 3)) == 1


def test_a_claim_that_waited_for_a_gate_counts_what_was_taken_meanwhile(strict: Engine, database: str) -> None:
    client, sql, store = Client(strict), Sql(strict), DriverStore(strict)
    client.apply_workflow("w", {**GRAPH, "limits": {"concurrency": 1}})
    client.submit_many("w", [{}] * 2)
    first, second = register(store), register(store)
    with transaction(database) as claim:
        claim.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        claim.execute(QUERIES["claim_if_fenced"], claim_parameters(first, QUEUES, 9))
        client.limit_queue("other", concurrency=1)
        sql("INSERT INTO dray.gate_change (gate) VALUES ('w')")
        waiting = Running(lambda: store.claim(second, QUEUES, 9))
        until_blocked(sql)
        commit(claim)
        assert waiting.result() == []
    assert sql("SELECT count(*) FROM dray.execution WHERE status = 'running'") == [(1,)]


def test_a_claim_in_a_stricter_transaction_is_refused(strict: Engine, database: str) -> None:
    client, store = Client(strict), DriverStore(strict)
    client.apply_workflow("w", GRAPH)
    client.submit("w")
    with transaction(database) as cursor, pytest.raises(Exception, match="must be READ COMMITTED"):
        cursor.execute(QUERIES["claim_if_fenced"], claim_parameters(register(store), QUEUES, 9))


def test_a_session_behind_a_pooler_that_has_another_default_is_told_from_its_first_failure_on(
    strict: Engine, sql: Sql, database: str
) -> None:
    """What a connection learnt when it was opened may not be true of the session that it is given later."""
    engine = connect(database, pool_size=1)
    store, client = DriverStore(engine), Client(engine)
    with engine.connect() as found:
        found.info["dray_stricter"] = False
    client.apply_workflow("w", GRAPH)
    execution = client.submit("w")
    incarnation = register(store)
    with pytest.raises(Unavailable, match="must be READ COMMITTED"):
        store.claim(incarnation, QUEUES, 9)
    assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [execution]
    assert store.commit(incarnation, [], [end(execution)]).settled == {execution}
    engine.dispose()


def test_the_usual_default_costs_no_word(engine: Engine) -> None:
    with engine.connect() as found:
        assert read_committed(found, "SELECT 1") == "SELECT 1"


@pytest.mark.chaos
@pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed (apt-get install pgbouncer)")
def test_a_limit_of_one_holds_through_a_transaction_pooler(strict: Engine, pooled: str) -> None:
    engine = connect(pooled, pool_size=20)
    client = Client(engine)
    client.apply_workflow("w", {**GRAPH, "limits": {"concurrency": 1}})
    ids = client.submit_many("w", [{}] * 40)
    assert max(drive_to_the_end(engine, Sql(engine), ids, 3)) == 1
    assert level(DriverStore(engine)) == "read committed"
    engine.dispose()
