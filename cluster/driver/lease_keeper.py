"""Keeps the lease of one incarnation alive, on its own thread and connection.

The database is the truth about a lease: every write asks it. But a driver that cannot reach the database must stop by
itself before others take its executions, and so it trusts its lease only until `sent + ttl - margin` on its own clock,
counted from before the last successful renewal was sent. After that it says LeaseGone, once, and ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dray.cluster import logs
from dray.cluster.driver.committer import LeaseGone
from dray.cluster.driver.patience import SLICE, Patience
from dray.store.connection import FIRST_WAIT
from dray.store.driver_store import DriverStore
from dray.store.errors import StoreError, Unavailable

log = logs.get("lease")


class LeaseKeeper(threading.Thread):
    """ttl, heartbeat: seconds. registered: time.monotonic() before the incarnation was registered."""

    def __init__(
        self,
        store: DriverStore,
        incarnation: str,
        ttl: float,
        heartbeat: float,
        registered: float,
        notify: Callable[[object], None],
        patience: Patience | None = None,
    ) -> None:
        super().__init__(name="lease keeper", daemon=True)
        self._store = store
        self._incarnation = incarnation
        self._ttl = ttl
        self._heartbeat = heartbeat
        self._margin = min(heartbeat, ttl / 10)
        self._notify = notify
        self._patience = patience or Patience()
        self._ended = threading.Event()
        self.trusted_until = registered + ttl - self._margin

    @property
    def renewed(self) -> float:
        """When the last renewal that was answered had been sent."""
        return self.trusted_until - self._ttl + self._margin

    def stop(self) -> None:
        self._ended.set()

    def run(self) -> None:
        pause = self._heartbeat
        while not self._ended.wait(max(0.0, min(pause, self.trusted_until - time.monotonic()))):
            sent = time.monotonic()
            if sent >= self.trusted_until:
                self._end("no renewal reached the database in time")
                return
            if not self._patience.may_try():
                pause = SLICE
                continue
            pause = self._heartbeat
            try:
                if not self._store.renew(self._incarnation, self._ttl):
                    self._end("it ran out, or another driver took it for dead")
                    return
                self.trusted_until = sent + self._ttl - self._margin
                self._patience.answered("lease")
            except Unavailable as error:
                self._patience.failed("lease", error)
                pause = min(self._heartbeat, 5 * FIRST_WAIT)
                left = self.trusted_until - time.monotonic()
                log.warning("cannot renew the lease", reason=error.reason, trusted_for=max(0.0, left))
            except StoreError as error:
                self._end(str(error))
                return
            except Exception as error:  # a bug of ours; the driver must not go on without its lease keeper
                log.exception("the lease keeper failed")
                self._end(f"the lease keeper failed: {type(error).__name__}")
                return

    def _end(self, reason: str) -> None:
        if not self._ended.is_set():
            self._notify(LeaseGone(reason))
