"""What the tests of the store share: drivers in a few words, transactions held open, and waiting for a lock."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Engine

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore, commit_parameters
from dray.store.records import Claimed, Kind, Outcome, Settlement
from tests.pg import Sql

GRAPH = {"format": 1, "nodes": [{"id": "a"}, {"id": "b"}], "edges": [{"from": "a", "to": "b"}]}
QUEUES = ["default"]


def register(store: DriverStore, ttl: float = 600) -> str:
    """A new incarnation with a live lease."""
    incarnation = str(uuid.uuid4())
    store.register(incarnation, ttl, {"pid": 1, "host": "here"})
    return incarnation


def expire(sql: Sql, incarnation: str) -> None:
    sql("UPDATE dray.driver SET lease_until = now() - interval '1 second' WHERE id = %(id)s::uuid", id=incarnation)


def submitted(client: Client, count: int = 1, **given: Any) -> list[str]:
    client.apply_workflow("w", GRAPH)
    return client.submit_many("w", [{"n": n} for n in range(count)], **given)


def claimed(store: DriverStore, client: Client, count: int = 1) -> tuple[str, list[Claimed]]:
    """An incarnation that holds so many new executions."""
    submitted(client, count)
    incarnation = register(store)
    claims = store.claim(incarnation, QUEUES, count)
    assert len(claims) == count
    return incarnation, claims


def claim(store: DriverStore, incarnation: str, count: int = 100, queues: Sequence[str] = QUEUES) -> list[str]:
    """The ids of what it got."""
    return [each.id for each in store.claim(incarnation, queues, count)]


def drive_to_the_end(engine: Engine, sql: Sql, executions: Sequence[str], batch: int) -> list[int]:
    """Four drivers claim these executions, `batch` at a time, and end them. Gives how many ran after each claim."""
    done: list[str] = []
    most: list[int] = []
    start = threading.Barrier(4)

    def drive() -> None:
        store = DriverStore(engine)
        driver = register(store)
        start.wait(30)
        deadline = time.monotonic() + 120
        while len(done) < len(executions) and time.monotonic() < deadline:
            if found := claim(store, driver, batch):
                most.append(sql("SELECT count(*) FROM dray.execution WHERE owner IS NOT NULL")[0][0])
                store.commit(driver, [], [end(each) for each in found])
                done.extend(found)

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(150)
    assert sorted(done) == sorted(executions)
    return most


def outcome(execution: str, node: str = "a", text: str | None = '{"x": 1}', attempt: int = 1, **other: Any) -> Outcome:
    return Outcome(execution, node, attempt, Kind.COMPLETED, None, text, None, None, 3)._replace(**other)


def end(execution: str, status: str = "completed", wake_in: float | None = None) -> Settlement:
    return Settlement(execution, status, wake_in, '{"type": "x", "message": "y"}' if status == "failed" else None)


def status(sql: Sql, execution: str) -> str:
    ((found,),) = sql("SELECT status FROM dray.execution WHERE id = %(id)s::uuid", id=execution)
    return str(found)


@contextmanager
def transaction(url: str) -> Iterator[Any]:
    """A cursor in a transaction on a connection of its own. The test ends it with `commit(cursor)`, else it is rolled
    back."""
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        if not connection.closed:
            connection.rollback()  # close() alone does not wait until the server has done it
            connection.close()


def commit(cursor: Any) -> None:
    cursor.connection.commit()


def commit_given(incarnation: str, outcomes: Sequence[Outcome], ends: Sequence[Settlement]) -> dict[str, Any]:
    """For commit_if_fenced in a transaction of the test's own."""
    return {**commit_parameters(incarnation, outcomes, ends), "again": False}


class Running(threading.Thread):
    """call() in a thread; result() waits for it and gives what it gave, or raises what it raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._given: Any = None
        self._raised: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._given = self._call()
        except BaseException as error:
            self._raised = error

    def result(self) -> Any:
        self.join(30)
        assert not self.is_alive(), "it still waits"
        if self._raised is not None:
            raise self._raised
        return self._given


def until_blocked(sql: Sql, count: int = 1) -> None:
    """Returns once so many statements of this database wait for a lock."""
    for _ in range(3000):
        ((found,),) = sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if found >= count:
            return
        sql("SELECT pg_sleep(0.01)")
    raise AssertionError("nothing waits for a lock")
