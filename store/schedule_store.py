"""What a driver does with schedules; part of DriverStore. Each method is one transaction in one round trip."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dray.store.records import DueSchedule


class ScheduleStore:
    """Needs no fence: what a slot becomes is decided by the revision of its schedule, whoever says it."""

    def due_schedules(self, limit: int, ahead: float) -> tuple[list[DueSchedule], float | None]:
        """Schedules to be looked at now, and the seconds until the next one, None: more than `ahead`."""
        rows = self._ask("due_schedules", {"limit": limit, "ahead": ahead})
        later = (row[-1] for row in rows if row[-1] > 0)
        return [DueSchedule(*row[:-1]) for row in rows if row[-1] <= 0], min(later, default=None)

    def turn_schedule(
        self,
        row: DueSchedule,
        slot: datetime | None,
        scheduled_at: str | None,
        queued: datetime | None,
        following: datetime | None,
        look_at: datetime | None,
    ) -> tuple[bool, str | None]:
        """Do what was decided on the row; gives whether it was done (else somebody else was faster), and the execution.

        slot: start one for it; scheduled_at: the slot as the execution is told. look_at: None = the schedule has ended.
        """
        given = {
            "id": row.id,
            "revision": row.revision,
            "slot": slot,
            "scheduled_at": scheduled_at,
            "queued": queued,
            "following": following,
            "look_at": look_at,
        }
        ((done, execution),) = self._ask("turn_schedule", given)
        return done, execution

    def fail_schedule(self, row: DueSchedule, error: str, pause: float) -> bool:
        """Mark it, to be looked at again after so many seconds. False: somebody else was faster."""
        given = {"id": row.id, "revision": row.revision, "error": error, "pause": pause}
        return bool(self._ask("fail_schedule_if_unchanged", given))

    def _ask(self, name: str, given: Mapping[str, Any]) -> list[Any]:
        raise NotImplementedError
