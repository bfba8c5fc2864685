"""Spans of time as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dray.cluster.cli.base import Stop, span_given
from dray.cluster.schedules import Timing
from dray.cluster.spans import span_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1h30m", 5400), (" 1H 1s ", 3601), ("7d", 7 * 86_400), ("2w", 14 * 86_400), ("0s", 0)],
)
def test_numbers_with_their_units_are_added(text: str, seconds: int) -> None:
    assert span_of(text) == timedelta(seconds=seconds)
    assert span_given(text, "--older-than") == span_of(text)
    if seconds:
        assert Timing.every(text).expression == str(seconds)


@pytest.mark.parametrize("text", ["", "30", "1.5h", "-1h", "1y", "5 minutes", "h", "1h30", "1h,30m", "\u0663d", "1e3s"])
def test_what_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        span_of(text)
    with pytest.raises(Stop, match=r"--older-than .*1h30m"):
        span_given(text, "--older-than")


@pytest.mark.parametrize("text", ["36601d", "999999999999w"])
def test_none_is_so_long_that_a_date_has_no_place_for_it(text: str) -> None:
    with pytest.raises(ValueError, match="100 years"):
        span_of(text)
    assert datetime.now(UTC) - span_of("36600d") < datetime.now(UTC)
