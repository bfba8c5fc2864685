"""A connection that dies: Unavailable once, and then all goes on; and the listener, which mends its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.driver_store import DriverStore
from dray.store.errors import Unavailable
from dray.store.listener import Listener
from tests.db.helpers import QUEUES, Running, claimed, commit, end, outcome, register, submitted, transaction
from tests.pg import Sql

TERMINATE = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = %(name)s"


@pytest.fixture
def other(database: str) -> Iterator[Engine]:
    engine = connect(database, pool_size=4, application_name="victim")
    yield engine
    engine.dispose()


def kill(sql: Sql, name: str) -> int:
    """How many connections of this name were ended; returns once they are gone."""
    return len(sql(TERMINATE, name=name))


def test_a_killed_connection_is_unavailable_once_and_then_works(other: Engine, client: Client, sql: Sql) -> None:
    victim = DriverStore(other)
    incarnation, (claim,) = claimed(victim, client)
    assert kill(sql, "victim") == 1
    with pytest.raises(Unavailable) as caught:
        victim.commit(incarnation, [outcome(claim.id)], [end(claim.id)])
    assert caught.value.lost is True
    assert client.attempts(claim.id) == []
    assert victim.commit(incarnation, [outcome(claim.id)], [end(claim.id)]).settled == {claim.id}


def test_the_first_error_replaces_all_dead_connections_of_the_pool(other: Engine, sql: Sql) -> None:
    victim = DriverStore(other)
    held = [other.connect() for _ in range(4)]
    for each in held:
        each.close()
    assert kill(sql, "victim") == 4
    with pytest.raises(Unavailable):
        register(victim)
    for _ in range(4):
        register(victim)


@pytest.mark.usefixtures("own_database")
def test_connections_to_a_server_that_became_read_only_are_replaced(other: Engine, sql: Sql, database: str) -> None:
    victim = DriverStore(other)
    ((name,),) = sql("SELECT current_database()")
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(Unavailable):
        register(victim)
    with transaction(database) as admin:
        admin.execute(f"SET TRANSACTION READ WRITE; ALTER DATABASE {name} RESET default_transaction_read_only")
        commit(admin)
    register(victim)


def test_a_connection_that_dies_in_the_middle_of_a_commit_leaves_nothing(
    other: Engine, client: Client, sql: Sql, database: str
) -> None:
    victim = DriverStore(other)
    incarnation, (claim,) = claimed(victim, client)
    with transaction(database) as holder:
        # The second of two outcomes waits for this one, which is not committed.
        holder.execute(
            "INSERT INTO dray.checkpoint (execution_id, at, attempt, kind, node_key) VALUES (%s, now(), 1, 'c', 'b')",
            (claim.id,),
        )
        both = [outcome(claim.id, "a"), outcome(claim.id, "b")]
        committing = Running(lambda: victim.commit(incarnation, both, [end(claim.id)]))
        for _ in range(3000):
            if sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'victim' AND wait_event_type = 'Lock'"):
                break
            sql("SELECT pg_sleep(0.01)")
        kill(sql, "victim")
        with pytest.raises(Unavailable):
            committing.result()
    assert client.attempts(claim.id) == []
    assert client.get(claim.id).status == "running"
    assert victim.commit(incarnation, both, [end(claim.id)]).settled == {claim.id}


@pytest.fixture
def listener(database: str) -> Iterator[Listener]:
    found = Listener(database)
    assert found.wait(30) is True  # connected: something may have come before
    yield found
    found.close()


def test_it_hears_a_submit_only_while_a_driver_says_that_it_listens(
    listener: Listener, store: DriverStore, client: Client
) -> None:
    incarnation = register(store)
    submitted(client)
    assert listener.wait(0.05) is False
    store.set_listening(incarnation, True)
    submitted(client)
    assert listener.wait(30) is True
    assert listener.wait(0.05) is False


def test_it_hears_what_came_while_nobody_waited(listener: Listener, sql: Sql) -> None:
    sql("NOTIFY dray")
    assert listener.wait(30) is True


@pytest.mark.parametrize("call", ["signal", "cancel", "release", "reap"])
def test_it_hears_of_everything_that_makes_work(
    listener: Listener, store: DriverStore, client: Client, sql: Sql, call: str
) -> None:
    store.set_listening(register(store), True)
    driver, (claim,) = claimed(store, client)
    while listener.wait(0.05):
        pass
    if call == "reap":
        sql("UPDATE dray.driver SET lease_until = now() WHERE id = %(id)s::uuid", id=driver)
        # One more without executions, which is reaped after it or before.
        for _ in range(3):
            sql("UPDATE dray.driver SET lease_until = now() WHERE id = %(id)s::uuid", id=register(store))
        store.reap()
    elif call == "release":
        store.release(driver)
    elif call == "cancel":
        client.cancel(claim.id)
    else:
        client.signal(claim.id, "go")
    assert listener.wait(30) is True


def test_it_mends_its_connection_and_says_that_it_may_have_missed_something(listener: Listener, sql: Sql) -> None:
    waiting = Running(lambda: listener.wait(30))
    assert kill(sql, "dray listener") == 1
    assert waiting.result() is True
    assert listener.wait(0.05) is False
    sql("NOTIFY dray")
    assert listener.wait(30) is True


def test_close_ends_a_wait_at_once_and_its_connection_with_it(database: str, sql: Sql) -> None:
    listener = Listener(database)
    listener.wait(30)
    waiting = Running(lambda: listener.wait(3600))
    listener.close()
    assert waiting.result() is False
    assert listener.wait(3600) is False
    listener.close()
    for _ in range(3000):
        if not sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'dray listener'"):
            return
        sql("SELECT pg_sleep(0.01)")
    raise AssertionError("its connection is still open")


def test_close_leaves_no_open_file(database: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        listener = Listener(database)
        listener.wait(30)
        listener.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_database_that_is_away_is_tried_again_until_the_time_is_over() -> None:
    listener = Listener("postgresql://nobody@127.0.0.1:1/x")
    assert listener.wait(0.3) is False
    waiting = Running(lambda: listener.wait(3600))
    listener.close()
    assert waiting.result() is False


def test_a_claim_after_a_fail_over_takes_what_is_there(other: Engine, client: Client, sql: Sql) -> None:
    victim = DriverStore(other)
    incarnation = register(victim)
    executions = submitted(client, 2)
    kill(sql, "victim")
    with pytest.raises(Unavailable):
        victim.claim(incarnation, QUEUES, 9)
    assert sorted(each.id for each in victim.claim(incarnation, QUEUES, 9)) == executions


def test_closing_it_while_it_ends_by_itself_harms_nobody(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a driver does that loses its lease while the database is away: the wait ends between two lines of close()."""
    found = Listener(database)
    write = os.write

    def late(file: int, data: bytes) -> int:
        other = threading.Thread(target=found._end_if_closed)
        other.start()
        other.join(0.2)
        return write(file, data)

    monkeypatch.setattr("dray.store.listener.os.write", late)
    found.close()
    assert found.wait(1.0) is False
