"""When a workflow runs by itself: which slot is next, and what becomes of those that are due. Pure: no I/O, no clock.

A slot is a time at which a schedule asks for an execution. A Timing gives its slots, one after the other; decide() says
what to do about the first of them once it has come. All times have a zone; those that come out are UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

from dray.actors.cron import five_fields
from dray.cluster.errors import ScheduleInvalid
from dray.cluster.spans import span_of
from dray.store.records import DueSchedule

UTC = UTC
SHORTEST = 1  # seconds between two slots of an interval
LONGEST = 10 * 365 * 86_400
HELD = 1.0  # seconds until a schedule that waits for the end of its execution is looked at again
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0  # seconds after a failure, twice as long each time
_EPSILON = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Timing:
    """kind: cron, interval or once. expression: five fields or a name such as @daily; seconds; a time in ISO 8601.

    zone: in which cron and a time without an offset are meant. Make one with cron(), every() or once(), which check it.
    """

    kind: str
    expression: str
    zone: str

    @staticmethod
    def cron(expression: str, zone: str = "UTC") -> Timing:
        """By a cron expression, e.g. "0 3 * * mon-fri", "@daily". Raises ScheduleInvalid, as the others do."""
        return _checked(Timing("cron", " ".join(expression.split()), zone))

    @staticmethod
    def every(interval: str | float | timedelta) -> Timing:
        """Each so many seconds, or "90s", "15m", "1h30m", "1d": the first one an interval after it is stored."""
        seconds = interval.total_seconds() if isinstance(interval, timedelta) else _seconds(interval)
        if not SHORTEST <= seconds <= LONGEST or seconds != int(seconds):
            raise ScheduleInvalid(f"interval {interval}: must be whole seconds, from 1 second to 10 years")
        return Timing("interval", str(int(seconds)), "UTC")

    @staticmethod
    def once(at: str | datetime, zone: str = "UTC") -> Timing:
        """Once, at a time such as 2030-01-31T08:00; without an offset it is meant in the zone."""
        return _checked(Timing("once", at.isoformat() if isinstance(at, datetime) else at.strip(), zone))

    def after(self, moment: datetime) -> datetime | None:
        """The first slot after the moment; None: there is none. Of an interval: counted from the moment."""
        if self.kind == "interval":
            return moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=int(self.expression))
        if self.kind == "once":
            at = _moment(self.expression, self.zone)
            return at if at > moment else None
        # A time that comes twice in autumn is its first one, and so may lie before the moment: then the one after it.
        for found in CronSim(five_fields(self.expression), moment.astimezone(_zone(self.zone))):
            if (slot := found.astimezone(UTC)) > moment:
                return slot
        return None

    def first_from(self, slot: datetime, moment: datetime) -> datetime | None:
        """The first slot at the moment or later, of those that begin with `slot`."""
        if slot >= moment or self.kind == "once":
            return slot
        if self.kind == "interval":
            step = timedelta(seconds=int(self.expression))
            return slot + -((slot - moment) // step) * step
        return self.after(moment - _EPSILON)

    def newest(self, slot: datetime, now: datetime, count: int) -> datetime:
        """Where the newest `count` slots up to now begin, of those from `slot` on; `slot` if there are fewer."""
        if self.kind == "interval":
            step = timedelta(seconds=int(self.expression))
            return max(slot, slot + ((now - slot) // step - count + 1) * step)
        if self.kind == "once":
            return slot
        found = now
        start = now.replace(microsecond=0) + timedelta(seconds=1)  # it gives what lies before, in whole seconds
        backwards = CronSim(five_fields(self.expression), start.astimezone(_zone(self.zone)), reverse=True)
        for _, each in zip(range(count), backwards, strict=False):
            found = each.astimezone(UTC)
            if found <= slot:
                return slot
        return found

    def shown(self, slot: datetime) -> datetime:
        """The slot as a person reads it, in the schedule's zone."""
        return slot.astimezone(_zone(self.zone))

    def following(self, moment: datetime, count: int) -> list[datetime]:
        """At most `count` slots after the moment, in the zone."""
        found: list[datetime] = []
        slot = self.after(moment)
        while slot is not None and len(found) < count:
            found.append(self.shown(slot))
            slot = self.after(slot)
        return found


def timing_of(kind: str, expression: str, zone: str) -> Timing:
    """The Timing of what is stored. Raises ScheduleInvalid: it may have been stored by SQL, or for other zones."""
    return _known(kind, expression, zone)


@lru_cache(maxsize=10_000)
def _known(kind: str, expression: str, zone: str) -> Timing:
    if kind == "interval":
        return Timing.every(expression)
    return _checked(Timing(kind, expression, zone))


def _checked(timing: Timing) -> Timing:
    _zone(timing.zone)
    if timing.kind == "cron":
        try:
            five_fields(timing.expression)
        except ValueError as error:
            raise ScheduleInvalid(str(error)) from None
    elif timing.kind == "once":
        _moment(timing.expression, timing.zone)
    else:
        raise ScheduleInvalid(f"{timing.kind!r} is no kind of schedule: use cron, interval or once")
    return timing


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # OSError: it names a folder, such as Europe
        raise ScheduleInvalid(f"{name!r} is no time zone: write one such as Europe/Berlin or UTC") from None


def _moment(text: str, zone: str) -> datetime:
    try:
        found = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text))
        # There and back: a time that is left out in spring is the one that the clock shows then.
        return (found if found.tzinfo else found.replace(tzinfo=_zone(zone))).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ScheduleInvalid(f"{text!r} is no time: write 2030-01-31T08:00, or with an offset ...+01:00") from None


def _seconds(interval: str | float) -> float:
    if not isinstance(interval, str):
        return float(interval)
    text = interval.strip()
    if text.isdecimal() and text.isascii() and len(text) <= 9:
        return float(text)
    try:
        return span_of(text).total_seconds()
    except ValueError as error:
        raise ScheduleInvalid(f"interval {interval!r}: {error}; a number alone is seconds") from None


# What becomes of a slot


class Bounds(NamedTuple):
    """grace: seconds that a slot may be late and is no missed one. catch_up: missed slots that are made good at most,
    where a schedule does not say."""

    grace: float = 60.0
    catch_up: int = 100


class Turn(NamedTuple):
    """What to do with a schedule that is looked at.

    run: the slot to start an execution for. queued: the slot that waits for the end of the execution before it.
    next_at: the next slot. look_at: when to look again; None: never, the schedule has ended.
    missed: the first and last moment of slots that were too late. overlapped: a slot left out, as one ran still.
    """

    run: datetime | None
    queued: datetime | None
    next_at: datetime | None
    look_at: datetime | None
    missed: tuple[datetime, datetime] | None = None
    overlapped: datetime | None = None


def decide(row: DueSchedule, bounds: Bounds) -> Turn:
    """One step: at most one execution, so that each is one transaction. Raises ScheduleInvalid."""
    timing = timing_of(row.kind, row.expression, row.zone)
    slot = row.next_at if row.next_at is not None else timing.after(row.since)
    if row.queued is not None and row.idle:
        turn = Turn(row.queued, None, slot, slot)
    elif slot is not None and slot <= row.now:
        turn = _due(timing, row, slot, bounds)
    else:
        turn = Turn(None, row.queued, slot, slot)
    if turn.queued is None:
        return turn
    soon = row.now + timedelta(seconds=HELD)  # nobody announces the end that the queued slot waits for
    return turn._replace(look_at=soon if turn.look_at is None else min(turn.look_at, soon))


def _due(timing: Timing, row: DueSchedule, due: datetime, bounds: Bounds) -> Turn:
    slot = _first_wanted(timing, row, due, bounds)
    missed = None if slot == due else (due, row.now if slot is None else min(slot - _EPSILON, row.now))
    turn = Turn(None, row.queued, slot, slot, missed)
    if slot is None or slot > row.now:
        return turn
    if row.overlap == "queue" and not row.idle and row.queued is not None and row.missed == "all":
        # It stays due, and is a missed slot that is made good.
        return turn._replace(look_at=row.now + timedelta(seconds=HELD))
    following = timing.after(slot)
    turn = turn._replace(next_at=following, look_at=following)
    if row.overlap == "allow" or row.idle:
        return turn._replace(run=slot)
    if row.overlap == "queue" and row.queued is None:
        return turn._replace(queued=slot)
    return turn._replace(overlapped=slot)


def _first_wanted(timing: Timing, row: DueSchedule, due: datetime, bounds: Bounds) -> datetime | None:
    """The first slot, from the due one on, that is not given up as missed."""
    in_time = row.now - timedelta(seconds=bounds.grace)
    if due >= in_time:
        return due
    if row.missed == "skip":
        return timing.first_from(due, in_time)
    if row.missed == "latest":
        return timing.newest(due, row.now, 1)
    return timing.first_from(due, min(in_time, timing.newest(due, row.now, row.missed_limit or bounds.catch_up)))


def pause_after(failures: int) -> float:
    """Seconds until a schedule that failed so many times in a row is tried again."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 20)))
