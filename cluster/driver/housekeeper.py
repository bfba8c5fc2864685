"""What a driver does on the side, on a thread and a connection of its own: wakes executions whose timer is due, reads
what people asked of the executions that it holds, reaps incarnations whose lease ran out, ends what is over its time
and cannot be claimed, and deletes what ended long ago.

Waking, reaping, ending and deleting are for the whole database: every driver does them, skips what another is doing,
and twice is once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from dray.cluster import logs
from dray.cluster.driver.news import by_execution
from dray.cluster.driver.patience import Patience, Stopped
from dray.cluster.driver.portions import Portion
from dray.cluster.execution.commands import ControlChanged, Event, News
from dray.store.driver_store import GIVE_BACK, DriverStore
from dray.store.errors import StoreError

TURN = 1.0  # seconds between two turns when no timer is due earlier; how long a cancel may take without a listener
SHORTEST_TURN = 0.05
WAKE_LIMIT = 1_000
OVERDUE_LIMIT = 500
OVERDUE_SHARE = 20  # a twentieth of this thread's time at most: it reads all that is queued in a queue that is paused
PRUNE_LIMIT = 500  # executions that are deleted in one go
PRUNE_SHARE = 10  # a tenth of this thread's time at most
PRUNE_PAUSE = 300.0  # seconds until the next round, when all that is old has been looked at

Done = TypeVar("Done")

log = logs.get("housekeeper")


class Controls(NamedTuple):
    """(execution id, what is asked of it) of executions that this driver holds. news: (execution id, what came)."""

    asked: list[tuple[str, str]]
    news: Sequence[tuple[str, News]] = ()

    @property
    def told(self) -> list[tuple[str, Event]]:
        """All of it as events."""
        return [*((execution, ControlChanged(control)) for execution, control in self.asked), *self.news]


class Housekeeper(threading.Thread):
    """notify: takes Controls. woken: called when timers of this database were due, to look for work at once.

    reap_every: seconds. keep: seconds that executions are kept after their end, None = for ever. queues: those of the
    driver. timeout: of an execution, in seconds, where its workflow does not say; None = no limit.
    """

    def __init__(
        self,
        store: DriverStore,
        incarnation: str,
        reap_every: float,
        notify: Callable[[object], None],
        woken: Callable[[], None],
        keep: float | None = None,
        queues: Sequence[str] = (),
        timeout: float | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(name="housekeeper", daemon=True)
        self._store = store
        self._incarnation = incarnation
        self._reap_every = reap_every
        self._notify = notify
        self._woken = woken
        self._keep = keep
        self._patience = patience or Patience()
        self._wakes = Portion("timers", WAKE_LIMIT)
        self._marks = Portion("marks", WAKE_LIMIT)
        self._reaps = Portion("reap", GIVE_BACK)
        self._prunes = Portion("prune", PRUNE_LIMIT)
        self._next_reap = self._next_prune = time.monotonic()
        self._pruned: str | None = None  # how far this round has come
        self._deleted = 0
        self._queues = queues
        self._timeout = timeout
        self._next_overdue = time.monotonic()
        self._unheard: set[str] = set()  # executions whose news has to be read once more
        self._ended = threading.Event()
        self._roused = threading.Event()

    def stop(self) -> None:
        self._ended.set()
        self._roused.set()

    def hint(self) -> None:
        """Somebody may have asked something: look soon."""
        self._roused.set()

    def look_again(self, executions: Iterable[str]) -> None:
        """What was told of these came before the driver had them: read it once more, soon."""
        self._unheard.update(executions)
        self._roused.set()

    def run(self) -> None:
        pause = 0.0
        try:
            while not self._ended.is_set():
                if self._roused.wait(pause):
                    self._ended.wait(SHORTEST_TURN)  # for the next ones, who often come along
                    self._roused.clear()
                if self._ended.is_set():
                    break
                turn = self._guarded(lambda: self._patience("timers and controls", self._turn, self._ended))
                pause = TURN if turn is None else turn
                self._guarded(self._reap)
                self._guarded(self._end_overdue)
                self._guarded(self._prune)
        except Stopped:
            pass

    def _guarded(self, step: Callable[[], Done]) -> Done | None:
        """What goes wrong with one of them must not keep the others from being done."""
        try:
            return step()
        except Stopped:
            raise
        except StoreError as error:
            log.warning("housekeeping failed", reason=str(error))
        except Exception:  # a bug of ours; without this thread no timer and no cancel would work
            log.exception("housekeeping failed")
        return None

    def _turn(self) -> float:
        """Seconds until the next turn."""
        (woken, next_due), most_woken = self._wakes.ask(self._store.wake_due)
        if woken:
            log.debug("timers due", executions=woken)
            self._woken()
        placed, most_placed = self._marks.ask(self._store.place_marks)
        if placed:
            self._woken()
        asked = self._store.controls(self._incarnation)
        news = self._news()
        if asked or news:
            self._notify(Controls(asked, news))
        if woken == most_woken or placed >= most_placed:
            return 0.0
        return TURN if next_due is None else min(TURN, max(SHORTEST_TURN, next_due))

    def _news(self) -> list[tuple[str, News]]:
        signals, children = self._store.news_of_driver(self._incarnation)
        if unheard := self._unheard.copy():
            more, ends = self._store.news_of([*unheard])  # what it knows already may be among it
            signals, children = [*signals, *more], [*children, *ends]
            self._unheard -= unheard
        return list(by_execution(signals, children).items())

    def _end_overdue(self) -> None:
        began = time.monotonic()
        if began < self._next_overdue:
            return
        self._next_overdue = began + TURN  # also where it fails
        if ended := self._store.end_overdue(self._queues, self._timeout, OVERDUE_LIMIT):
            log.warning("failed what was over its time and could not be claimed", executions=ended)
        now = time.monotonic()
        self._next_overdue = now + max(TURN, OVERDUE_SHARE * (now - began))

    def _reap(self) -> None:
        if time.monotonic() < self._next_reap:
            return
        self._next_reap = time.monotonic() + self._reap_every
        for dead in self._reaps.ask(self._store.reap)[
            0
        ]:  # not patiently: an execution that somebody keeps locked is for the next turn
            if dead.requeued or not dead.has_left:
                how = "gave back what a stopped driver held" if dead.planned else "reaped a driver whose lease ran out"
                log.warning(how, incarnation=dead.driver, host=dead.host, pid=dead.pid, requeued=dead.requeued)
            if dead.requeued:
                self._woken()

    def _prune_some(self, keep: float, most: int) -> tuple[int, str | None]:
        return self._store.prune(keep, most, self._pruned)

    def _prune(self) -> None:
        """One batch: a long history is deleted slowly, beside the work."""
        began = time.monotonic()
        if self._keep is None or began < self._next_prune:
            return
        self._next_prune = began + PRUNE_PAUSE  # also where it fails
        (deleted, self._pruned), _ = self._prunes.ask(partial(self._prune_some, self._keep))
        self._deleted += deleted
        if self._pruned is not None:
            now = time.monotonic()
            self._next_prune = now + PRUNE_SHARE * (now - began)
        elif self._deleted:
            log.info("deleted executions that ended long ago", executions=self._deleted)
            self._deleted = 0
