"""Reads what is recorded, for whoever judges it (cluster/history). Writes nothing, and may run beside the drivers.

A batch is a transaction of its own, READ ONLY, in one snapshot; each statement in it ends after `timeout` seconds. A
batch that did not come to its end in that time is read again by half, down to one execution; one that is still too much
is left out, and said so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, Engine

from dray.store.connection import connection
from dray.store.errors import StoreError
from dray.store.queries import QUERIES

BATCH = 500
LARGEST = 200_000  # checkpoints of one execution, and of one batch, that are held in memory
TOO_LONG = "57014"  # query_canceled: the statement took longer than its timeout

Rows: TypeAlias = list[tuple[Any, ...]]


class Batch(NamedTuple):
    """Rows as store/sql/history.sql gives them, of one snapshot. unread: ids of executions that were left out."""

    now: tuple[float, int, int]
    executions: Rows
    records: Rows
    signals: Rows
    children: Rows
    workflows: Rows
    unread: tuple[str, ...] = ()


class HistoryReader:
    """timeout: seconds for a statement."""

    def __init__(self, engine: Engine, timeout: float = 10.0) -> None:
        self._engine = engine
        self._timeout = timeout
        self._most = BATCH

    def batches(self, since: float | None = None, limit: int | None = None) -> Iterator[Batch]:
        """The newest executions first. since: seconds since 1970. limit: executions in all; None = all there are."""
        below: str | None = None
        left = limit
        while left is None or left > 0:
            most = self._most if left is None else min(self._most, left)
            try:
                batch, last, count = self._batch(below, since, most)
            except StoreError as error:
                if error.sqlstate != TOO_LONG or most == 1:
                    raise
                self._most = most // 2
                continue
            if not count:
                return
            yield batch
            below = last
            left = None if left is None else left - count

    def gates(self, names: Sequence[str]) -> Rows:
        return self._alone("history_gates", {"names": list(names)})

    def queues(self) -> Rows:
        return self._alone("history_queues", {})

    def known(self, ids: Iterable[str]) -> frozenset[str]:
        """Those of these executions that are in the database."""
        found = list(ids)
        chunks = [found[first : first + BATCH] for first in range(0, len(found), BATCH)]
        return frozenset(row[0] for chunk in chunks for row in self._alone("history_known", {"ids": chunk}))

    def _batch(self, below: str | None, since: float | None, most: int) -> tuple[Batch, str | None, int]:
        with self._snapshot() as found:
            (now,) = _ask(found, "history_now", {})
            given = {"below": below, "since": since, "most": most, "largest": LARGEST}
            executions = _ask(found, "history_executions", given)
            if not executions:
                return Batch(now, [], [], [], [], []), None, 0
            taken: Rows = []
            total = 0
            for row in executions:  # as many as fit
                total += row[-1]
                if total > LARGEST and taken:
                    break
                taken.append(row)
            unread = tuple(row[0] for row in taken if row[-1] > LARGEST)
            read = [row[:-1] for row in taken if row[-1] <= LARGEST]
            of = {"ids": [row[0] for row in read]}
            return (
                Batch(
                    now,
                    read,
                    _ask(found, "history_records", of),
                    _ask(found, "history_signals", of),
                    _ask(found, "history_children", of),
                    _ask(found, "history_workflows", {"ids": sorted({row[1] for row in read})}),
                    unread,
                ),
                taken[-1][0],
                len(taken),
            )

    def _alone(self, name: str, given: Mapping[str, Any]) -> Rows:
        with self._snapshot() as found:
            return _ask(found, name, given)

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        milliseconds = int(self._timeout * 1000)
        begin = (
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
            f"SET LOCAL statement_timeout = {milliseconds}; SET LOCAL lock_timeout = {milliseconds}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds + 60_000}"
        )
        with connection(self._engine) as found:
            try:
                found.exec_driver_sql(begin)
                yield found
            finally:
                if not found.invalidated:
                    found.exec_driver_sql("ROLLBACK")


def _ask(found: Connection, name: str, given: Mapping[str, Any]) -> Rows:
    return [tuple(row) for row in found.exec_driver_sql(QUERIES[name], dict(given)).all()]
