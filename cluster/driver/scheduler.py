"""Starts executions when schedules ask for them, on a thread and a connection of its own.

Every driver does it for all schedules of the database. What is due is judged by the database's clock, what to do about
it is decided by cluster/schedules.py, and done by one statement that acts only if the schedule is as it was when it was
read. So each slot has one execution, however many drivers look, and whichever of them dies where.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from dray.cluster import failpoints, logs
from dray.cluster.driver.patience import Patience, Stopped
from dray.cluster.driver.portions import Portion
from dray.cluster.errors import ScheduleInvalid
from dray.cluster.schedules import Bounds, Turn, decide, pause_after, timing_of
from dray.store.driver_store import DriverStore
from dray.store.errors import StoreError, Unavailable
from dray.store.records import DueSchedule

__all__ = ["Bounds", "Scheduler"]

TURN = 1.0  # seconds between two looks when no slot is due earlier
SHORTEST_TURN = 0.01
BATCH = 100  # schedules in one look

log = logs.get("scheduler")


class Scheduler(threading.Thread):
    """woken: called when executions were started, to look for work at once."""

    def __init__(
        self, store: DriverStore, bounds: Bounds, woken: Callable[[], None], patience: Patience | None = None
    ) -> None:
        super().__init__(name="scheduler", daemon=True)
        self._store = store
        self._bounds = bounds
        self._patience = patience or Patience()
        self._portion = Portion("schedules", BATCH)
        self._woken = woken
        self._ended = threading.Event()

    def stop(self) -> None:
        self._ended.set()

    def run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            pause = TURN
            try:
                pause = self._patience("schedules", self.turn, self._ended)
            except Stopped:
                return
            except StoreError as error:
                log.warning("cannot look at the schedules", reason=str(error))
            except Exception:  # a bug of ours; without this thread nothing would be started
                log.exception("cannot look at the schedules")

    def turn(self) -> float:
        """Look at what is due, each schedule once; gives the seconds until there is more to do. Raises StoreError."""
        (due, following), _ = self._portion.ask(lambda most: self._store.due_schedules(most, TURN))
        moved = False
        for row in due:
            if self._ended.is_set():
                break
            moved = self._look_at(row) or moved
        if moved:
            return 0.0  # their next slots may be due already
        # What is due and did not move is somebody else's, or in an open transaction of somebody who changes it.
        return TURN if following is None else max(SHORTEST_TURN, following)

    def _look_at(self, row: DueSchedule) -> bool:
        """Whether this driver did something about it. What is wrong with one schedule is marked there, and stops no
        other."""
        try:
            turn = decide(row, self._bounds)
            timing = timing_of(row.kind, row.expression, row.zone)
            told = None if turn.run is None else timing.shown(turn.run).isoformat()
            failpoints.hit("before_slot")
            done, execution = self._store.turn_schedule(row, turn.run, told, turn.queued, turn.next_at, turn.look_at)
            failpoints.hit("after_slot")
        except Unavailable:
            raise
        except (StoreError, ScheduleInvalid) as error:
            return self._mark(row, str(error))
        except Exception as error:
            log.exception("cannot go on with a schedule", schedule=row.name)
            return self._mark(row, f"a bug of Dray, see the driver's log: {type(error).__name__}: {error}")
        if done:
            _tell(row, turn, execution)
        if execution is not None:
            self._woken()
        return done

    def _mark(self, row: DueSchedule, error: str) -> bool:
        pause = pause_after(row.failures + 1)
        marked = self._store.fail_schedule(row, error, pause)
        if marked:
            log.warning("a schedule failed", schedule=row.name, reason=error, again_in=pause)
        return marked


def _tell(row: DueSchedule, turn: Turn, execution: str | None) -> None:
    if turn.missed is not None:
        log.warning("missed slots are skipped", schedule=row.name, first=turn.missed[0], until=turn.missed[1])
    if turn.overlapped is not None:
        log.info("a slot is left out: the execution before it runs still", schedule=row.name, slot=turn.overlapped)
    if execution is not None:
        log.info("scheduled", schedule=row.name, slot=turn.run, execution=execution)
