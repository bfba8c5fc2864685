"""Which cron expressions are taken; which times they mean is tested in tests/unit/cluster/test_schedules.py."""

from __future__ import annotations

import pytest

from dray.actors.cron import ALIASES, five_fields


@pytest.mark.parametrize(
    "expression", ["* * * * *", "*/5 9-17 * jan,JUL Mon-Fri", "0 0 L * *", "0 9 * * 1#2", "5 4 31 1 *"]
)
def test_five_fields_are_taken_as_they_are(expression: str) -> None:
    assert five_fields(f"  {expression} ") == expression


def test_names_stand_for_fields() -> None:
    assert five_fields("@Daily") == "0 0 * * *"
    assert {five_fields(each) for each in ALIASES} == set(ALIASES.values())


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "write five fields"),
        ("every day", "write five fields"),
        ("0 * * * * *", "write five fields"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("? * * * *", "bad minute"),
        ("* * * * 1#2/3", "bad day-of-week"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("* * */20 * 1L", "never comes"),
        ("@reboot", "the names are @yearly"),
        ("@", "the names are"),
        ("1," * 150 + "1 * * * *", "write five fields"),
    ],
)
def test_others_are_refused_in_one_line(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        five_fields(expression)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400
