"""The threads around the one that decides, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dray.cluster.driver.claimer import Claimer, ListenThread
from dray.cluster.driver.clerk import Clerk
from dray.cluster.driver.committer import Committer
from dray.cluster.driver.ending import stop_all
from dray.cluster.driver.housekeeper import Housekeeper
from dray.cluster.driver.lease_keeper import LeaseKeeper
from dray.cluster.driver.options import DriverOptions
from dray.cluster.driver.patience import Patience
from dray.cluster.driver.scheduler import Scheduler
from dray.cluster.driver.suspects import is_suspect
from dray.store.driver_store import DriverStore
from dray.store.listener import Listener
from dray.store.records import Budget

JOIN = 5.0  # seconds that each of them may take to end


class Threads:
    """registered: time.monotonic() before the incarnation was registered. put: into the driver's inbox. wrote: as the
    committer's. listener: None = poll."""

    def __init__(
        self,
        store: DriverStore,
        incarnation: str,
        options: DriverOptions,
        listener: Listener | None,
        registered: float,
        put: Callable[[object], None],
        wrote: Callable[[int, float], None],
    ) -> None:
        self.patience = patience = Patience()
        self.clerk = Clerk(store, incarnation, put, patience)
        self.committer = Committer(store, incarnation, put, wrote, patience)
        self.claimer = Claimer(
            store, incarnation, options.queues, options.claim_batch, options.poll_interval, listener is not None, put,
            patience, Budget(options.held_bytes, options.held_bytes, options.policy.crash_limit),
            lambda claim: is_suspect(claim, options),
        )  # fmt: skip
        hint = self.claimer.hint
        self.housekeeper = Housekeeper(
            store, incarnation, options.heartbeat, put, hint, options.keep, options.queues,
            options.policy.execution_timeout, patience,
        )  # fmt: skip
        self.keeper = LeaseKeeper(store, incarnation, options.lease_ttl, options.heartbeat, registered, put, patience)
        scheduler = Scheduler(store, options.schedules, hint, patience)
        self._all: list[Any] = [self.committer, self.claimer, self.keeper, self.housekeeper, scheduler]
        if listener is not None:
            self._all.append(ListenThread(listener, hint, self.housekeeper.hint, patience))

    def start(self) -> None:
        for thread in self._all:
            thread.start()

    def stop(self) -> None:
        stop_all([*self._all, self.clerk])

    def join(self) -> None:
        """For JOIN seconds each, those that have begun."""
        for thread in self._all:
            if thread.is_alive():
                thread.join(JOIN)
