"""Enters runners into the database and strikes them out, on a thread of its own: the deciding thread must not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from dray.actors.pool.pool import RunnerInfo
from dray.cluster import logs
from dray.cluster.driver.claimer import Found
from dray.cluster.driver.committer import LeaseGone
from dray.cluster.driver.patience import Answer, Patience, Stopped
from dray.cluster.driver.suspects import BeginsAlone
from dray.store.driver_store import DriverStore

log = logs.get("clerk")


class RunnerEntered(NamedTuple):
    """The runner has a row in the database, and may be given work."""

    runner: int
    db_id: int


class Clerk:
    """notify: takes RunnerEntered, BeginsAlone, and LeaseGone when the database refuses for good."""

    def __init__(
        self,
        store: DriverStore,
        incarnation: str,
        notify: Callable[[object], None],
        patience: Patience | None = None,
    ) -> None:
        self._store = store
        self._incarnation = incarnation
        self._notify = notify
        self._patience = patience or Patience()
        self._ended = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clerk")

    def enter(self, runner: int, info: RunnerInfo) -> None:
        """RunnerEntered follows once the row is committed."""
        self._thread.submit(self._enter, runner, info)

    def leave(self, db_id: int, reason: str) -> None:
        self._thread.submit(self._leave, db_id, reason)

    def begin_alone(self, found: Found) -> None:
        """BeginsAlone follows once the database knows."""
        self._thread.submit(self._begin_alone, found)

    def stop(self) -> None:
        self._ended.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _enter(self, runner: int, info: RunnerInfo) -> None:
        def register() -> int:
            return self._store.register_runner(self._incarnation, info.node_id, info.host, info.pid, info.name)

        db_id = self._ask("enter a runner", register)
        if db_id is not None:
            log.info("runner ready", runner=info.name, host=info.host, pid=info.pid, ray_node=info.node_id)
            self._notify(RunnerEntered(runner, db_id))

    def _begin_alone(self, found: Found) -> None:
        def begin() -> bool:
            self._store.stand_apart(self._incarnation, (), found.claim.id)
            return True

        if self._ask("begin an execution alone", begin):
            log.warning(
                "drivers died with this execution: it runs alone",
                execution=found.claim.id, deaths=found.claim.crash_count,
            )  # fmt: skip
            self._notify(BeginsAlone(found))

    def _leave(self, db_id: int, reason: str) -> None:
        log.warning("runner ended", runner=db_id, reason=reason)
        self._ask("end a runner", lambda: self._store.end_runner(db_id, reason))

    def _ask(self, what: str, call: Callable[[], Answer]) -> Answer | None:
        try:
            return self._patience(what, call, self._ended)
        except Stopped:
            return None
        except Exception as error:  # without rows for its runners the driver can do nothing
            log.exception("the clerk failed", what=what)
            self._notify(LeaseGone(f"cannot {what}: {error}"))
            return None
