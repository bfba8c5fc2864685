"""The client's part about schedules: workflows that run by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from dray.store.client.base import ClientBase, json_text
from dray.store.errors import DataRefused, ScheduleNotFound, StoreError, WorkflowNotFound

OVERLAPS = ("skip", "queue", "allow")
MISSED = ("skip", "latest", "all")
LONGEST_NAME = 254


class TimingLike(Protocol):
    """What dray.Timing makes, which has checked it. kind: cron, interval or once."""

    @property
    def kind(self) -> str: ...

    @property
    def expression(self) -> str: ...

    @property
    def zone(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule as it stood when it was asked for.

    status: active, paused or ended (no slot is left). from_graph: made by the trigger of its workflow. since: slots
    after it count. next_at: the next slot; None: no driver has worked it out yet, or there is none. queued_at: the slot
    that waits for the end of last_execution. last_at: the last slot that was run. failures: in a row; error: the last.
    """

    id: str
    name: str
    workflow: str
    kind: str
    expression: str
    zone: str
    status: str
    overlap: str
    missed: str
    missed_limit: int | None
    from_graph: bool
    priority: int
    queue: str
    input: dict[str, Any]
    labels: dict[str, Any]
    created_at: datetime
    since: datetime
    next_at: datetime | None
    queued_at: datetime | None
    last_at: datetime | None
    last_execution: str | None
    failures: int
    error: str | None


Schedules: TypeAlias = list[Schedule]


class ScheduleClient(ClientBase):
    """Make schedules, look at them, pause, resume and delete them."""

    def set_schedule(
        self,
        name: str,
        workflow: str,
        timing: TimingLike,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word for it
        priority: int = 5,
        queue: str = "default",
        labels: Mapping[str, Any] | None = None,
        overlap: str = "skip",
        missed: str = "latest",
        missed_limit: int | None = None,
        paused: bool | None = None,
    ) -> str:
        """Make a schedule, or change the one of that name; gives its id. Slots count from now on.

        timing: Timing.cron(), .every() or .once() of dray. input: an object; the slot's own keys are added to it.
        overlap: what becomes of a slot while the execution before it runs: skip, queue (one waits) or allow.
        missed: what becomes of the slots for which no driver was there: skip, latest (the newest is run, once), or all,
        the newest missed_limit of them (None = as the setting DRAY_SCHEDULE_CATCH_UP says). paused: None = as it was. A
        changed one with the same timing keeps its slots.
        Raises WorkflowNotFound, DataRefused.
        """
        if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise DataRefused(f"a schedule's name is a line of 1 to {LONGEST_NAME} characters, not {name[:80]!r}")
        if overlap not in OVERLAPS:
            raise DataRefused(f"overlap {overlap!r} is none of {', '.join(OVERLAPS)}")
        if missed not in MISSED:
            raise DataRefused(f"missed {missed!r} is none of {', '.join(MISSED)}")
        given = {
            "name": name,
            "workflow": workflow,
            "kind": timing.kind,
            "expression": timing.expression,
            "zone": timing.zone,
            "input": json_text(input or {}, "input"),
            "priority": priority,
            "queue": queue,
            "labels": json_text(labels or {}, "labels"),
            "overlap": overlap,
            "missed": missed,
            "missed_limit": missed_limit,
            "paused": paused,
        }
        try:
            return str(self._ask("set_schedule", given)[0][0])
        except StoreError as error:
            if error.sqlstate == "P0002":
                raise WorkflowNotFound(workflow) from None
            raise

    def schedules(self, workflow: str | None = None) -> Schedules:
        """All schedules, or those of one workflow, by name."""
        return [Schedule(*row) for row in self._ask("list_schedules", {"name": None, "workflow": workflow})]

    def schedule(self, name: str) -> Schedule:
        """One schedule. Raises ScheduleNotFound."""
        rows = self._ask("list_schedules", {"name": name, "workflow": None})
        if not rows:
            raise ScheduleNotFound(name)
        return Schedule(*rows[0])

    def pause_schedule(self, name: str) -> str:
        """Start nothing of it until it is resumed; gives its status now. Raises ScheduleNotFound."""
        return self._named("pause_schedule", name)

    def resume_schedule(self, name: str) -> str:
        """Go on from now: slots of the pause are neither run nor missed; gives its status now."""
        return self._named("resume_schedule", name)

    def run_schedule(self, name: str) -> str:
        """Start an execution now, as a slot would; gives its id. Changes nothing of the schedule, paused or not."""
        return self._named("run_schedule", name)

    def delete_schedule(self, name: str) -> None:
        """Its executions stay. Raises ScheduleNotFound, and DataRefused for one that a workflow's trigger makes."""
        if not self._ask("delete_schedule", {"name": name})[0][0]:
            raise ScheduleNotFound(name)

    def _named(self, query: str, name: str) -> str:
        ((answer,),) = self._ask(query, {"name": name})
        if answer is None:
            raise ScheduleNotFound(name)
        return str(answer)
