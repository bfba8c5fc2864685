"""Waiting out a database that does not answer: what every thread of a driver does about Unavailable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from dray.cluster import logs
from dray.store.connection import waits
from dray.store.errors import Unavailable

SLICE = 0.1  # seconds: how soon a thread notices that it is to stop, or that another one got an answer
SOON = (
    1.0  # seconds after which it goes on once another got one: not at once, if it is this call that loses connections
)
LONGEST_GAP = 2.0  # seconds between two tries of all threads together

Answer = TypeVar("Answer")

log = logs.get("database")


class Stopped(Exception):
    """The driver ends, so nobody waits for the answer any more."""


class Patience:
    """Shared by the threads of one driver: while no connection can be had, one of them tries for all, and the first
    answer sets all going again.

    troubles: what waits for the database -> since when on `clock`, and the database's own words.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._is_away = False
        self._gaps = waits(longest=LONGEST_GAP)
        self._next_try = 0.0
        self.troubles: dict[str, tuple[float, str]] = {}

    def __call__(
        self, what: str, call: Callable[[], Answer], stop: threading.Event, but: type[Unavailable] | None = None
    ) -> Answer:
        """call(), again and again with growing pauses for as long as the database is unavailable. what: for the log.

        Each such call is one transaction and may be repeated: if the acknowledgement of the first was lost, the second
        changes nothing. Raises Stopped when `stop` is set meanwhile, and what call() raises besides Unavailable; and of
        Unavailable what is a `but`.
        """
        for pause in waits():
            try:
                answer = call()
            except Unavailable as error:
                if but is not None and isinstance(error, but):
                    raise
                self.failed(what, error)
                log.warning("waiting for the database", what=what, reason=error.reason, again_in=pause)
                if not self._wait(pause, error.lost, stop):
                    raise Stopped from error
            else:
                self.answered(what)
                return answer
        raise AssertionError  # waits() does not end

    def failed(self, what: str, error: Unavailable) -> None:
        """error.lost: it was the connection, so that others need not try either."""
        now = self._clock()
        with self._lock:
            since = self.troubles.get(what, (now, ""))[0]
            self.troubles = {**self.troubles, what: (since, error.reason)}
            if error.lost and not self._is_away:
                self._is_away, self._gaps = True, waits(longest=LONGEST_GAP)
                self._next_try = now + next(self._gaps)

    def answered(self, what: str) -> None:
        if not self.troubles and not self._is_away:  # as nearly always: no lock
            return
        with self._lock:
            self._is_away = False
            since, _ = self.troubles.get(what, (None, ""))
            self.troubles = {name: trouble for name, trouble in self.troubles.items() if name != what}
        if since is not None:
            log.info("the database is back", what=what, waited=self._clock() - since)

    def may_try(self) -> bool:
        """Whether it is this caller's turn: always, but while the database is away."""
        if not self._is_away:
            return True
        now = self._clock()
        with self._lock:
            if self._is_away and now < self._next_try:
                return False
            self._next_try = now + next(self._gaps)
            return True

    def _wait(self, pause: float, lost: bool, stop: threading.Event) -> bool:
        """Until the next try; False = stop. Where the connection was lost, an answer to another thread ends it."""
        began = self._clock()
        soon = began + min(pause, SOON)
        while not stop.wait(SLICE):
            now = self._clock()
            if (lost and not self._is_away and now >= soon) or (now >= began + pause and self.may_try()):
                return True
        return False
