"""The fence: who lost the lease writes nothing, and a commit in flight keeps the reaper off."""

from __future__ import annotations

import uuid

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore, claim_parameters
from dray.store.errors import LeaseLost
from dray.store.queries import QUERIES
from tests.db.helpers import (
    QUEUES,
    Running,
    claimed,
    commit,
    end,
    expire,
    outcome,
    register,
    status,
    submitted,
    transaction,
    until_blocked,
)
from tests.pg import Sql

FENCE = "SELECT 1 FROM dray.driver WHERE id = %(id)s FOR KEY SHARE"


def test_a_late_commit_of_a_reaped_incarnation_writes_nothing(store: DriverStore, client: Client, sql: Sql) -> None:
    late, (claim,) = claimed(store, client)
    expire(sql, late)
    assert [(each.driver, each.requeued) for each in store.reap()] == [(late, 1)]
    with pytest.raises(LeaseLost, match=late):
        store.commit(late, [outcome(claim.id)], [end(claim.id)])
    assert status(sql, claim.id) == "queued"
    assert client.attempts(claim.id) == []


def test_it_writes_nothing_either_once_another_holds_the_execution(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    late, (claim,) = claimed(store, client)
    expire(sql, late)
    store.reap()
    other = register(store)
    assert [each.claim_count for each in store.claim(other, QUEUES, 9)] == [2]
    with pytest.raises(LeaseLost):
        store.commit(late, [outcome(claim.id)], [end(claim.id)])
    assert store.commit(other, [outcome(claim.id)], [end(claim.id)]).settled == {claim.id}


def test_a_lease_that_ran_out_refuses_claim_commit_and_renewal_before_any_reaper_comes(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    late, (claim,) = claimed(store, client)
    more = submitted(client)
    expire(sql, late)
    assert store.renew(late, 600) is False
    with pytest.raises(LeaseLost):
        store.claim(late, QUEUES, 9)
    with pytest.raises(LeaseLost):
        store.commit(late, [outcome(claim.id)], [end(claim.id)])
    assert (status(sql, claim.id), status(sql, more[0])) == ("running", "queued")


def test_an_unknown_incarnation_is_refused(store: DriverStore) -> None:
    nobody = str(uuid.uuid4())
    assert store.renew(nobody, 600) is False
    assert store.release(nobody) is None
    with pytest.raises(LeaseLost):
        store.claim(nobody, QUEUES, 9)
    with pytest.raises(LeaseLost):
        store.commit(nobody, [], [])


def test_an_execution_of_another_incarnation_is_not_settled(store: DriverStore, client: Client, sql: Sql) -> None:
    _, (theirs,) = claimed(store, client)
    mine, (own,) = claimed(store, client)
    assert store.commit(mine, [], [end(theirs.id), end(own.id)]).settled == {own.id}
    assert status(sql, theirs.id) == "running"


def test_a_commit_in_flight_keeps_the_reaper_off(store: DriverStore, client: Client, sql: Sql, database: str) -> None:
    late, (claim,) = claimed(store, client)
    with transaction(database) as commit_in_flight:
        commit_in_flight.execute(FENCE, {"id": late})
        expire(sql, late)  # no key column: it does not wait for the commit
        assert store.reap() == []
        commit(commit_in_flight)
    assert [each.requeued for each in store.reap()] == [1]
    assert status(sql, claim.id) == "queued"


def test_a_heartbeat_does_not_wait_for_a_commit_in_flight(store: DriverStore, database: str) -> None:
    incarnation = register(store)
    with transaction(database) as commit_in_flight:
        commit_in_flight.execute(FENCE, {"id": incarnation})
        assert store.renew(incarnation, 600) is True
        store.set_listening(incarnation, True)


def test_a_live_incarnations_commit_waits_for_its_release_and_is_then_refused(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    incarnation, (claim,) = claimed(store, client)
    with transaction(database) as release:
        release.execute("SELECT dray.release(%s, 9)", (incarnation,))
        waiting = Running(lambda: store.commit(incarnation, [outcome(claim.id)], [end(claim.id)]))
        until_blocked(sql)
        commit(release)
    with pytest.raises(LeaseLost):
        waiting.result()
    assert status(sql, claim.id) == "queued"
    assert client.attempts(claim.id) == []


def test_a_claim_waits_for_the_release_of_its_own_incarnation_and_takes_nothing(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    (execution,) = submitted(client)
    incarnation = register(store)
    with transaction(database) as release:
        release.execute("SELECT dray.release(%s, 9)", (incarnation,))
        waiting = Running(lambda: store.claim(incarnation, QUEUES, 9))
        until_blocked(sql)
        commit(release)
    with pytest.raises(LeaseLost):
        waiting.result()
    assert status(sql, execution) == "queued"


def test_expiry_goes_by_the_clock_not_by_the_start_of_the_transaction(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    late, _ = claimed(store, client)
    with transaction(database) as old:
        old.execute("SELECT now()")  # from here on now() stands still
        sql("UPDATE dray.driver SET lease_until = clock_timestamp()")
        old.execute("SELECT now() < lease_until FROM dray.driver")
        assert old.fetchall() == [(True,)]
        old.execute(QUERIES["reap_next"], {"done": [], "most": 9})
        assert [row[0] for row in old.fetchall()] == [late]


def test_the_driver_row_is_locked_before_any_execution(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    incarnation, claims = claimed(store, client, 3)
    submitted(client, 3)
    with transaction(database) as other, transaction(database) as looker:
        other.execute("SELECT 1 FROM dray.driver FOR UPDATE")
        both = [
            Running(lambda: store.claim(incarnation, QUEUES, 9)),
            Running(lambda: store.commit(incarnation, [], [end(each.id) for each in claims])),
        ]
        until_blocked(sql, 2)
        looker.execute("SELECT count(*) FROM (SELECT 1 FROM dray.execution FOR UPDATE SKIP LOCKED) free")
        assert looker.fetchone() == (6,)
        looker.connection.rollback()
        other.connection.rollback()
        claim, ended = (each.result() for each in both)
        assert (len(claim), len(ended.settled)) == (3, 3)


def test_a_planned_stop_gives_back_without_a_crash_and_a_reap_counts_one(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    first, (claim,) = claimed(store, client)
    assert store.release(first) == (1, False)
    assert store.release(first) is None
    assert client.get(claim.id).crash_count == 0
    second = register(store)
    store.claim(second, QUEUES, 9)
    expire(sql, second)
    assert [(each.driver, each.host, each.pid, each.requeued) for each in store.reap()] == [(second, "here", 1, 1)]
    found = client.get(claim.id)
    assert (found.status, found.crash_count, found.claim_count) == ("queued", 1, 2)
    assert sql("SELECT count(*) FROM dray.driver") == [(0,)]
    assert store.reap() == []


def test_what_an_incarnation_without_a_row_holds_is_reaped_as_well(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    """However its row went: nobody else would ever look at these executions."""
    live, (kept,) = claimed(store, client)
    lost = [claimed(store, client, 2) for _ in range(2)]
    client.cancel(lost[1][1][0].id)
    sql("DELETE FROM dray.driver WHERE id <> %(id)s::uuid", id=live)
    found = {(each.driver, each.requeued) for each in store.reap()}
    assert found == {(incarnation, 2) for incarnation, _ in lost}
    assert [status(sql, each.id) for _, claims in lost for each in claims] == [
        "queued",
        "queued",
        "cancelled",
        "queued",
    ]
    assert status(sql, kept.id) == "running"
    assert store.reap() == []


def test_a_reaper_in_a_stricter_isolation_misses_a_claim_and_the_next_one_does_not(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    """A server may have another default than READ COMMITTED."""
    (execution,) = submitted(client)
    late = register(store)
    with transaction(database) as reaper, transaction(database) as claim:
        claim.execute(QUERIES["claim_if_fenced"], claim_parameters(late, QUEUES, 1))
        expire(sql, late)
        reaper.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reaper.execute("SELECT 1")  # what it sees from here on is without the claim
        commit(claim)
        reaper.execute(QUERIES["reap_next"], {"done": [], "most": 9})
        assert [(row[0], row[3]) for row in reaper.fetchall()] == [(late, 0)]
        commit(reaper)
    assert [(each.driver, each.requeued) for each in store.reap()] == [(late, 1)]
    assert status(sql, execution) == "queued"


def test_registering_once_more_after_a_lost_answer_changes_nothing(store: DriverStore, sql: Sql) -> None:
    incarnation = register(store, ttl=600)
    store.register(incarnation, 5, {"pid": 1, "host": "here"})
    assert sql("SELECT count(*), bool_and(lease_until > now() + interval '1 minute') FROM dray.driver") == [(1, True)]


def test_runners_of_a_driver_end_with_it(store: DriverStore, sql: Sql) -> None:
    lost, stopped = register(store), register(store)
    first = store.register_runner(lost, "node", "here", 7, "dray-runner-1")
    store.register_runner(lost, "node", "here", 8, "dray-runner-2")
    store.register_runner(stopped, "node", "here", 9, "dray-runner-3")
    store.end_runner(first, "out of memory")
    store.end_runner(first, "a second answer")
    expire(sql, lost)
    store.reap()
    store.release(stopped)
    ended = [("out of memory",), ("driver lost",), ("driver stopped",)]
    assert sql("SELECT ended FROM dray.runner WHERE ended_at IS NOT NULL ORDER BY id") == ended
