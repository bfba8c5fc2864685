"""What becomes of the slots of a schedule: run, missed, made good, left out or waiting. Each as driver after driver
would see it: decide() is folded over a row and a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dray.cluster.errors import ScheduleInvalid
from dray.cluster.schedules import LONGEST_PAUSE, Bounds, Turn, decide, pause_after
from dray.store.records import DueSchedule

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
BOUNDS = Bounds(grace=60.0, catch_up=5)


def minutes(count: float) -> datetime:
    return NOON + timedelta(minutes=count)


def row(**given: object) -> DueSchedule:
    """Each minute, looked at at noon, when the slot of noon is due."""
    plain = DueSchedule(
        "1", "s", "cron", "* * * * *", "UTC", "skip", "skip", None, minutes(-1), NOON, None, True, 0, 1, NOON
    )
    return plain._replace(**given)  # type: ignore[arg-type]


class Fold:
    """The schedule as the database keeps it. Executions end when the test says so."""

    def __init__(self, **given: object) -> None:
        self.row = row(**given)
        self.runs: list[datetime] = []
        self.turns: list[Turn] = []
        self.look_at: datetime | None = NOON

    def until(self, end: datetime, ends_at_once: bool = False) -> list[datetime]:
        """The slots that were run until then, looked at whenever that was asked for."""
        before = len(self.runs)
        while self.look_at is not None and (now := max(self.look_at, self.row.now)) <= end:
            turn = decide(self.row._replace(now=now), BOUNDS)
            self.turns.append(turn)
            if turn.run is not None:
                self.runs.append(turn.run)
            idle = ends_at_once if turn.run is not None else self.row.idle
            self.row = self.row._replace(next_at=turn.next_at, queued=turn.queued, idle=idle, now=now)
            self.look_at = turn.look_at
            assert len(self.turns) < 10_000, "it turns on the spot"
        self.row = self.row._replace(now=max(end, self.row.now))
        return self.runs[before:]

    def ended(self) -> None:
        self.row = self.row._replace(idle=True)


def test_a_due_slot_is_run_and_the_next_one_follows() -> None:
    assert decide(row(), BOUNDS) == Turn(NOON, None, minutes(1), minutes(1))


def test_before_the_slot_nothing_happens() -> None:
    assert decide(row(now=minutes(-0.5)), BOUNDS) == Turn(None, None, NOON, NOON)


def test_a_new_schedule_counts_from_its_making_whoever_looks_late() -> None:
    turn = decide(row(next_at=None, since=minutes(-0.5), now=minutes(0.2)), BOUNDS)
    assert (turn.run, turn.next_at) == (NOON, minutes(1))
    assert decide(row(next_at=None, since=NOON), BOUNDS).run is None


def test_missed_slots_are_skipped_but_one_that_is_hardly_late() -> None:
    fold = Fold(now=minutes(10.5), overlap="allow")
    assert fold.until(minutes(10.5)) == [minutes(10)]
    assert fold.turns[0].missed == (NOON, minutes(10) - timedelta(microseconds=1))
    assert [each.missed for each in fold.turns[1:]] == [None] * (len(fold.turns) - 1), "told once"
    daily = decide(row(expression="@daily", next_at=minutes(-720), now=NOON), BOUNDS)
    assert (daily.run, daily.next_at, daily.missed) == (None, minutes(720), (minutes(-720), NOON))


@pytest.mark.parametrize(("late", "runs"), [(3, 4), (4, 5), (5, 5), (500, 5)])
def test_with_catch_up_the_newest_missed_slots_are_made_good(late: int, runs: int) -> None:
    fold = Fold(missed="all", overlap="allow", now=minutes(late))
    assert fold.until(minutes(late)) == [minutes(late - each) for each in reversed(range(runs))]
    missed = [each.missed for each in fold.turns if each.missed]
    assert missed == ([] if late < 5 else [(NOON, minutes(late - 4) - timedelta(microseconds=1))])


@pytest.mark.parametrize("late", [2, 3, 4, 500])
def test_of_missed_slots_the_latest_is_run_once(late: int) -> None:
    for overlap in ("skip", "queue", "allow"):
        fold = Fold(missed="latest", overlap=overlap, now=minutes(late))
        assert fold.until(minutes(late)) == [minutes(late)]
        assert fold.turns[0].missed == (NOON, minutes(late) - timedelta(microseconds=1))
        assert fold.row.next_at == minutes(late + 1)
    nightly = decide(row(missed="latest", expression="0 3 * * *", next_at=minutes(-540), now=minutes(60)), BOUNDS)
    assert (nightly.run, nightly.next_at) == (minutes(-540), minutes(900)), "the worker was down at 03:00"


def test_a_schedule_may_say_how_many_are_made_good() -> None:
    fold = Fold(missed="all", missed_limit=2, overlap="allow", now=minutes(500))
    assert fold.until(minutes(500)) == [minutes(499), minutes(500)]


def test_catch_up_of_an_interval_stays_on_its_grid() -> None:
    fold = Fold(missed="all", overlap="allow", kind="interval", expression="90", now=minutes(32))
    assert fold.until(minutes(32)) == [minutes(1.5 * each) for each in range(17, 22)]
    skipped = Fold(overlap="allow", kind="interval", expression="90", now=minutes(32))
    assert skipped.until(minutes(32)) == [minutes(31.5)]


def test_skip_leaves_out_the_slots_while_one_runs() -> None:
    fold = Fold()
    assert fold.until(minutes(3)) == [NOON]
    assert [each.overlapped for each in fold.turns] == [None, minutes(1), minutes(2), minutes(3)]
    fold.ended()
    assert fold.until(minutes(4)) == [minutes(4)]


def test_queue_lets_one_wait_and_leaves_out_the_others() -> None:
    fold = Fold(overlap="queue")
    assert fold.until(minutes(3.5)) == [NOON]
    assert fold.row.queued == minutes(1)
    assert [each.overlapped for each in fold.turns if each.overlapped] == [minutes(2), minutes(3)]
    fold.ended()
    assert fold.until(minutes(3.6)) == [minutes(1)]
    assert fold.row.queued is None
    assert fold.until(minutes(4.5)) == [], "the one that waited runs now, so that of 4 waits"
    assert fold.row.queued == minutes(4)


def test_queue_with_catch_up_loses_none() -> None:
    fold = Fold(overlap="queue", missed="all")
    fold.until(minutes(3.5))
    for each in (3.6, 3.7, 3.8):
        fold.ended()
        fold.until(minutes(each))
    assert fold.runs == [minutes(each) for each in range(4)]


def test_allow_runs_every_slot() -> None:
    assert Fold(overlap="allow").until(minutes(3)) == [minutes(each) for each in range(4)]


def test_a_queued_slot_is_looked_for_soon_and_not_all_the_time() -> None:
    turn = decide(row(overlap="queue", queued=minutes(-1), next_at=minutes(5), idle=False), BOUNDS)
    assert turn.queued == minutes(-1)
    assert turn.look_at == NOON + timedelta(seconds=1)


def test_once_runs_however_late_and_has_ended_then() -> None:
    turn = decide(row(kind="once", expression="2026-06-01T12:00", now=minutes(10_000)), BOUNDS)
    assert turn == Turn(NOON, None, None, None)
    late = decide(row(kind="once", expression="2026-06-01T12:00", next_at=None, since=minutes(1)), BOUNDS)
    assert late == Turn(None, None, None, None)


def test_a_bad_expression_is_told() -> None:
    with pytest.raises(ScheduleInvalid, match="bad minute"):
        decide(row(expression="99 * * * *"), BOUNDS)


def test_pauses_after_failures_grow_to_a_limit() -> None:
    pauses = [pause_after(each) for each in range(1, 100)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 10
    assert set(pauses[20:]) == {LONGEST_PAUSE}


@given(
    st.sampled_from(["skip", "queue", "allow"]),
    st.sampled_from(["skip", "latest", "all"]),
    st.sampled_from(["* * * * *", "*/5 * * * *", "@hourly"]),
    st.lists(st.tuples(st.integers(1, 4_000), st.booleans()), min_size=1, max_size=12),
)
def test_no_slot_is_run_twice_or_out_of_order_whatever_the_pauses(
    overlap: str, missed: str, expression: str, steps: list[tuple[int, bool]]
) -> None:
    fold = Fold(overlap=overlap, missed=missed, expression=expression)
    now = NOON
    for seconds, ends in steps:
        now += timedelta(seconds=seconds)
        fold.row = fold.row._replace(now=now)  # no driver looked in between
        fold.until(now, ends_at_once=ends)
        if ends:
            fold.ended()
    assert fold.runs == sorted(set(fold.runs))
    assert all(each <= now for each in fold.runs)
