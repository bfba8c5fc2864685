"""Which slots a timing gives, across changes of daylight saving time too."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dray.cluster.errors import ScheduleInvalid
from dray.cluster.schedules import Timing, timing_of

UTC = UTC
BERLIN = ZoneInfo("Europe/Berlin")
CRONS = ["* * * * *", "*/7 * * * *", "30 2 * * *", "0,30 1-3 * * *", "15 */2 * * *", "0 3 * * sun", "59 23 L * *"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]

START = datetime(2020, 1, 1, tzinfo=UTC)
moments = st.timedeltas(timedelta(0), timedelta(days=15 * 365)).map(lambda since: START + since)
timings = st.one_of(
    st.builds(Timing.cron, st.sampled_from(CRONS), st.sampled_from(ZONES)),
    st.builds(Timing.every, st.integers(1, 1_000_000)),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def slots(timing: Timing, since: str, count: int) -> list[str]:
    return [f"{each:%m-%d %H:%M %z}" for each in timing.following(at(since), count)]


def test_a_cron_expression_is_meant_in_its_zone() -> None:
    timing = Timing.cron("0 9 * * mon-fri", "Europe/Berlin")
    assert slots(timing, "2026-01-02T08:59+01:00", 2) == ["01-02 09:00 +0100", "01-05 09:00 +0100"]
    assert slots(Timing.cron("@daily"), "2026-07-01T00:00+02:00", 1) == ["07-01 00:00 +0000"]


def test_in_spring_the_hour_that_is_left_out_costs_no_run() -> None:
    night = "2026-03-28T12:00+01:00"  # at 02:00 on the 29th it is 03:00
    timing = Timing.cron("30 2 * * *", "Europe/Berlin")
    assert slots(timing, night, 2) == ["03-29 03:00 +0200", "03-30 02:30 +0200"]
    hourly = Timing.cron("0 * * * *", "Europe/Berlin")
    assert slots(hourly, "2026-03-29T00:30+01:00", 3) == ["03-29 01:00 +0100", "03-29 03:00 +0200", "03-29 04:00 +0200"]
    both = Timing.cron("0,30 2,3 * * *", "Europe/Berlin")
    assert slots(both, night, 3) == ["03-29 03:00 +0200", "03-29 03:30 +0200", "03-30 02:00 +0200"]


def test_in_autumn_the_hour_that_comes_twice_makes_no_second_run() -> None:
    night = "2026-10-24T12:00+02:00"  # at 03:00 on the 25th it is 02:00 again
    timing = Timing.cron("30 2 * * *", "Europe/Berlin")
    assert slots(timing, night, 2) == ["10-25 02:30 +0200", "10-26 02:30 +0100"]
    # What goes by the hour or the minute goes on by the hour or the minute.
    hourly = Timing.cron("0 * * * *", "Europe/Berlin")
    assert slots(hourly, "2026-10-25T01:30+02:00", 3) == ["10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00 +0100"]


def test_a_slot_that_is_looked_for_within_the_second_pass_of_the_hour_lies_ahead() -> None:
    timing = Timing.cron("30 2 * * *", "Europe/Berlin")
    assert slots(timing, "2026-10-25T02:15+01:00", 1) == ["10-26 02:30 +0100"]


@given(timings, moments)
def test_slots_go_forward_and_none_lies_between_two(timing: Timing, moment: datetime) -> None:
    first = timing.after(moment)
    assert first is not None
    assert first > moment
    if timing.kind == "cron":
        before = first - timedelta(microseconds=1)
        assert timing.after(before) == first
        assert timing.after(moment + (before - moment) / 2) == first


@given(timings, moments, st.integers(0, 3_000_000))
def test_the_first_slot_from_a_moment_is_the_one_that_going_on_would_reach(
    timing: Timing, moment: datetime, seconds: int
) -> None:
    slot = timing.after(moment)
    assert slot is not None
    wanted = slot + timedelta(seconds=seconds)
    found = timing.first_from(slot, wanted)
    assert found is not None
    assert found >= wanted
    if timing.kind == "interval":
        assert (found - slot) % timedelta(seconds=int(timing.expression)) == timedelta(0)
        assert found - wanted < timedelta(seconds=int(timing.expression))
    else:
        step: datetime | None = slot
        for _ in range(200):
            assert step is not None
            if step >= wanted:
                assert step == found
                break
            step = timing.after(step)


@given(timings, moments, st.integers(0, 3_000_000), st.integers(1, 20))
def test_the_newest_slots_are_as_many_as_asked_for(timing: Timing, moment: datetime, seconds: int, count: int) -> None:
    slot = timing.after(moment)
    assert slot is not None
    now = slot + timedelta(seconds=seconds)
    start = timing.newest(slot, now, count)
    assert slot <= start <= now
    first = timing.first_from(slot, start)
    found = 0
    while first is not None and first <= now:
        found += 1
        first = timing.after(first)
    # Where the clock was put forward or back between, backwards and forwards may differ by a slot.
    assert found <= count + 1
    assert start == slot or found >= count - 1


def test_once_is_once() -> None:
    timing = Timing.once("2030-01-31T08:00", "Europe/Berlin")
    assert timing.after(at("2030-01-31T06:59:59+00:00")) == at("2030-01-31T07:00+00:00")
    assert timing.after(at("2030-01-31T07:00+00:00")) is None
    assert timing.following(at("2029-01-01T00:00+00:00"), 5) == [datetime(2030, 1, 31, 8, tzinfo=BERLIN)]
    assert Timing.once("2030-01-31T08:00:00Z").after(at("2029-01-01T00:00+00:00")) == at("2030-01-31T08:00+00:00")
    # 02:30 does not exist on that day.
    assert Timing.once("2026-03-29T02:30", "Europe/Berlin").after(at("2026-01-01T00:00+00:00")) == at(
        "2026-03-29T03:30+02:00"
    )


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("1d", 86_400), (5, 5), ("1H 1s", 3601)],
)
def test_intervals_are_read_as_people_write_them(given: str | int, seconds: int) -> None:
    timing = Timing.every(given)
    assert timing.expression == str(seconds)
    assert timing.after(at("2026-01-01T00:00+00:00")) == at("2026-01-01T00:00+00:00") + timedelta(seconds=seconds)
    assert Timing.every(timedelta(seconds=seconds)) == timing


@pytest.mark.parametrize(
    "given", ["", "0", "0s", "0.5", 0.5, "soon", "1y", "5 minutes", "-1", -5, "1e9", "99999999d", 1e30]
)
def test_other_intervals_are_refused(given: str | float) -> None:
    with pytest.raises(ScheduleInvalid):
        Timing.every(given)


@pytest.mark.parametrize(
    ("kind", "expression", "zone", "words"),
    [
        ("cron", "99 * * * *", "UTC", "bad minute"),
        ("cron", "* * * * *", "Europe/Atlantis", "is no time zone"),
        ("cron", "* * * * *", "", "is no time zone"),
        ("cron", "* * * * *", "../../etc/passwd", "is no time zone"),
        ("cron", "* * * * *", "Europe", "is no time zone"),
        ("cron", "* * * * *", "a\0b", "is no time zone"),
        ("once", "tomorrow", "UTC", "is no time"),
        ("once", "9999-12-31T23:59-10:00", "UTC", "is no time"),
        ("interval", "x", "UTC", "interval"),
        ("hourly", "1", "UTC", "is no kind"),
    ],
)
def test_what_is_stored_is_checked_again_when_it_is_read(kind: str, expression: str, zone: str, words: str) -> None:
    with pytest.raises(ScheduleInvalid, match=words) as caught:
        timing_of(kind, expression, zone)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
