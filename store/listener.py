"""LISTEN on a connection of its own: a hint that there may be work, never more.

Notifications that were sent while the connection was down are lost, so whoever listens polls now and then as well.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
from sqlalchemy.exc import DBAPIError

from dray.store.connection import connect, waits
from dray.store.errors import StoreError
from dray.store.url import DatabaseURL

CHANNEL = "dray"
CONTROL = "control"  # the payload where somebody asked something of what drivers hold (dray.tell_drivers)


class Listener:
    """url: must lead to a session that stays ours, so past any transaction pooler. One thread waits at a time.

    may_connect: asked before each try, where others know already that the database is away.
    """

    def __init__(self, url: str | DatabaseURL) -> None:
        self._engine = connect(url, pool_size=1, application_name="dray listener")
        self._connection: Any = None  # of psycopg2
        self._pauses = waits()
        self.said: frozenset[str] = frozenset()  # the payloads of what the last wait() heard
        self._closed = threading.Event()
        self._using = threading.Lock()  # held in wait()
        self._ending = threading.Lock()  # held around what uses or closes the pipe outside of wait()
        self._wake_read, self._wake_write = os.pipe()
        self.may_connect: Callable[[], bool] = lambda: True

    def wait(self, seconds: float) -> bool:
        """True once something was notified, or may have been while the connection was down; False after `seconds`, or
        when closed. A connection that breaks is made again, after a pause that grows."""
        until = time.monotonic() + seconds
        try:
            with self._using:
                while not self._closed.is_set() and (left := until - time.monotonic()) > 0:
                    try:
                        if self._connection is None:
                            if not self.may_connect():
                                self._closed.wait(min(left, 0.1))
                                continue
                            self._connect()
                            return True
                        if self._heard(left):
                            return True
                    except (psycopg2.Error, StoreError, DBAPIError):
                        self._drop()
                        self._closed.wait(min(left, next(self._pauses)))
                return False
        finally:
            self._end_if_closed()

    def close(self) -> None:
        """End a wait() in another thread, and all later ones. Does not wait itself."""
        with self._ending:  # a wait() that ends by itself just now must not close the pipe under our hands
            if self._closed.is_set():
                return
            self._closed.set()
            os.write(self._wake_write, b"x")
        self._end_if_closed()

    def _end_if_closed(self) -> None:
        """Called once more by a wait() that close() found at work, so that one of the two ends the connection."""
        if self._closed.is_set() and self._using.acquire(blocking=False):
            try:
                self._drop()
                with self._ending:
                    for each in (self._wake_read, self._wake_write):
                        if each >= 0:
                            os.close(each)
                    self._wake_read = self._wake_write = -1
            finally:
                self._using.release()

    def _connect(self) -> None:
        fresh = self._engine.raw_connection()
        made = fresh.driver_connection
        assert made is not None
        fresh.detach()  # ours from here on, not the pool's
        made.autocommit = True
        with made.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._connection = made
        self._pauses = waits()

    def _heard(self, seconds: float) -> bool:
        """Waits with poll(): select() takes no file above the 1024th, and a process with Ray may have that many."""
        waiting = select.poll()
        waiting.register(self._connection, select.POLLIN)
        waiting.register(self._wake_read, select.POLLIN)
        ready = {file for file, _ in waiting.poll(seconds * 1000)}
        if self._connection.fileno() not in ready:
            return False
        self._connection.poll()
        self.said = frozenset(each.payload for each in self._connection.notifies)
        heard = bool(self._connection.notifies)
        self._connection.notifies.clear()
        return heard

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
