"""Steps several connections through their statements in a given order, as Postgres' own isolation tester does.

A statement that waits for a lock is left pending: the others go on, and it is picked up when it is done. The turns of a
connection that is still waiting are made up for as soon as it is free.
"""

from __future__ import annotations

import itertools
import select
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ

PATIENCE = 30.0  # seconds; nothing here takes one
LOOK = 0.004  # seconds until a statement that is not done may be one that waits


class Ran(NamedTuple):
    """One statement. waited: for a lock, at least for a while. error: its SQLSTATE."""

    who: str
    what: str
    rows: tuple[Any, ...]
    error: str | None
    waited: bool

    def __str__(self) -> str:
        answer = self.error or ", ".join(map(str, self.rows[:3]))
        return f"{self.who}: {self.what}{' (waited)' if self.waited else ''} -> {answer}"


class Session:
    """A connection whose statements may be pending."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self._found = psycopg2.connect(url.replace("+psycopg2", ""), async_=True)
        self._wait(PATIENCE)
        self._cursor = self._found.cursor()
        self.pending: tuple[str, bool] | None = None  # the statement, and whether it waited
        self.pid = self._found.info.backend_pid

    def begin(self, what: str, statement: str, given: Any = None) -> None:
        assert self.pending is None
        self.pending = what, False
        self._cursor.execute(statement, given)

    def result(self, monitor: Any) -> Ran | None:
        """Of the pending statement; None: it waits for a lock."""
        assert self.pending is not None
        what, waited = self.pending
        until = time.monotonic() + PATIENCE
        error = None
        try:
            while not self._wait(LOOK):
                monitor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (self.pid,))
                if monitor.fetchone()[0]:
                    self.pending = what, True
                    return None
                assert time.monotonic() < until, f"{self.name}: {what} does not end"
        except psycopg2.Error as failure:
            error = failure.pgcode or str(failure)
        self.pending = None
        rows = tuple(self._cursor.fetchall()) if error is None and self._cursor.description else ()
        return Ran(self.name, what, rows, error, waited)

    def _wait(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (state := self._found.poll()) != POLL_OK:
            left = until - time.monotonic()
            if left <= 0:
                return False
            reads = [self._found] if state == POLL_READ else []
            select.select(reads, [] if reads else [self._found], [], left)
        return True

    def close(self) -> None:
        self._found.close()


class Transaction(NamedTuple):
    """statements: (name, SQL, parameters). end: COMMIT or ROLLBACK."""

    name: str
    statements: tuple[tuple[str, str, Any], ...]
    end: str = "COMMIT"

    @property
    def steps(self) -> list[tuple[str, str, Any]]:
        return [("BEGIN", "BEGIN", None), *self.statements, (self.end, self.end, None)]


def orders(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every order in which connections can make so many steps each."""
    every = [number for number, count in enumerate(counts) for _ in range(count)]
    yield from sorted(set(itertools.permutations(every)))


class _Walk:
    """Several transactions on their way. left: statements of each; owed: turns that it could not take yet."""

    def __init__(self, sessions: Sequence[Session], monitor: Any, given: Sequence[Transaction]) -> None:
        self.ran: list[Ran] = []
        self._sessions = sessions[: len(given)]
        self._monitor = monitor
        self._left = [list(each.steps) for each in given]
        self._owed = [0] * len(given)

    def turn(self, number: int) -> None:
        self._owed[number] += 1
        if self._sessions[number].pending is None:
            self._go(number)
        self.wake()

    def _go(self, number: int) -> None:
        left = self._left[number]
        while left and self._owed[number]:
            if left[0][1] != "BEGIN":
                self._owed[number] -= 1
            self._sessions[number].begin(*left.pop(0))
            if not self._settle(number):
                return

    def _settle(self, number: int) -> bool:
        found = self._sessions[number].result(self._monitor)
        if found is not None:
            self.ran.append(found)
        return found is not None

    def wake(self) -> None:
        """Those that waited and do not any more."""
        moved = True
        while moved:
            moved = False
            for number, each in enumerate(self._sessions):
                if each.pending is not None and self._settle(number):
                    moved = True
                    self._go(number)

    @property
    def is_over(self) -> bool:
        return not any(self._left) and all(each.pending is None for each in self._sessions)


def run(sessions: Sequence[Session], monitor: Any, given: Sequence[Transaction], order: Sequence[int]) -> list[Ran]:
    """What happened, in the order of its end. order: of the steps, a number of a session each; BEGIN goes along with
    the first statement, so that it is no step of its own."""
    walk = _Walk(sessions, monitor, given)
    for number in order:
        walk.turn(number)
    until = time.monotonic() + PATIENCE
    while not walk.is_over:
        walk.wake()
        assert time.monotonic() < until, f"nobody goes on: {walk.ran}"
    return walk.ran
