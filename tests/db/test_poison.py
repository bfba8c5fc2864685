"""crash_count: the deaths of drivers in a row between which an execution recorded nothing."""

from __future__ import annotations

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from tests.db.helpers import QUEUES, end, expire, outcome, register, submitted
from tests.pg import Sql


class Life:
    """One execution, from driver to driver."""

    def __init__(self, store: DriverStore, client: Client, sql: Sql) -> None:
        self._store, self._client, self._sql = store, client, sql
        (self.execution,) = submitted(client)
        self._recorded = 0

    def claim(self) -> str:
        incarnation = register(self._store)
        assert [each.id for each in self._store.claim(incarnation, QUEUES, 9)] == [self.execution]
        return incarnation

    def record(self, incarnation: str) -> None:
        self._recorded += 1
        self._store.commit(incarnation, [outcome(self.execution, f"n{self._recorded}")], [])

    def die(self, incarnation: str) -> int:
        """The count after the death."""
        expire(self._sql, incarnation)
        assert [each.requeued for each in self._store.reap()] == [1]
        return self._client.get(self.execution).crash_count


def test_each_death_without_progress_counts(store: DriverStore, client: Client, sql: Sql) -> None:
    life = Life(store, client, sql)
    assert [life.die(life.claim()) for _ in range(4)] == [1, 2, 3, 4]


def test_a_long_execution_that_goes_on_lives_through_any_number_of_deaths(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    life = Life(store, client, sql)
    for _ in range(6):
        incarnation = life.claim()
        life.record(incarnation)
        assert life.die(incarnation) == 1


def test_what_was_recorded_before_the_last_death_is_no_progress(store: DriverStore, client: Client, sql: Sql) -> None:
    life = Life(store, client, sql)
    incarnation = life.claim()
    life.record(incarnation)
    assert life.die(incarnation) == 1
    assert life.die(life.claim()) == 2
    assert life.die(life.claim()) == 3


def test_progress_of_a_claim_in_between_counts_as_well(store: DriverStore, client: Client, sql: Sql) -> None:
    life = Life(store, client, sql)
    assert life.die(life.claim()) == 1
    assert life.die(life.claim()) == 2
    incarnation = life.claim()
    life.record(incarnation)
    store.commit(incarnation, [], [end(life.execution, "queued")])
    assert life.die(life.claim()) == 1


def test_a_planned_stop_changes_nothing(store: DriverStore, client: Client, sql: Sql) -> None:
    life = Life(store, client, sql)
    assert life.die(life.claim()) == 1
    store.release(life.claim())
    assert client.get(life.execution).crash_count == 1
    assert life.die(life.claim()) == 2


def test_progress_of_others_does_not_help(store: DriverStore, client: Client, sql: Sql) -> None:
    life = Life(store, client, sql)
    assert life.die(life.claim()) == 1
    incarnation = life.claim()
    (other,) = submitted(client)
    store.claim(incarnation, QUEUES, 9)
    store.commit(incarnation, [outcome(other)], [end(other)])
    assert life.die(incarnation) == 2


def test_what_stood_apart_did_not_die_with_its_driver(store: DriverStore, client: Client, sql: Sql) -> None:
    begun, apart, later = submitted(client, 3)
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 9)
    store.stand_apart(incarnation, [apart, later])
    store.stand_apart(incarnation, (), later)
    expire(sql, incarnation)
    assert [each.requeued for each in store.reap()] == [3]
    assert [client.get(each).crash_count for each in (begun, apart, later)] == [1, 0, 1]


def test_an_incarnation_whose_process_lives_has_not_crashed(store: DriverStore, client: Client, sql: Sql) -> None:
    """Whether others took its executions away before it said so, or not; and saying it twice takes away no more."""
    life = Life(store, client, sql)
    life.die(life.claim())
    lived = life.claim()
    assert life.die(lived) == 2
    for _ in range(2):
        store.outlived(lived)
        assert client.get(life.execution).crash_count == 1
    lived = life.claim()
    store.outlived(lived)
    assert [each.requeued for each in store.reap()] == [1], "at once, though its lease has not run out"
    assert client.get(life.execution).crash_count == 1
