"""Cron expressions: five fields as Debian's cron reads them, and its names (@daily). Which times they mean: cronsim.

cronsim, because it is kept well (Healthchecks runs on it), follows Debian's cron through changes of daylight saving
time, works with zoneinfo, and needs nothing else; croniter got those changes wrong for years.
"""

from __future__ import annotations

from datetime import datetime

from cronsim import CronSim, CronSimError

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
LONGEST = 200  # characters
_SOME_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - only whether it ever comes


def five_fields(expression: str) -> str:
    """The expression as five fields. Raises ValueError, in one line, for one that means no time or never comes."""
    text = " ".join(expression.split())
    fields = ALIASES.get(text.lower(), text)
    shown = repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")
    if text.startswith("@") and fields == text:
        raise ValueError(f"{shown} is no cron expression: the names are {', '.join(ALIASES)}")
    if len(text) > LONGEST or len(fields.split()) != 5:
        raise ValueError(
            f'{shown} is no cron expression: write five fields (minute hour day month weekday), such as "*/5 * * * *"'
        )
    try:
        next(CronSim(fields, _SOME_DAY))
    except CronSimError as error:
        reason = str(error)[:1].lower() + str(error)[1:]
        raise ValueError(f"{shown} is no cron expression: {reason}") from None
    except StopIteration:
        raise ValueError(f"{shown} never comes: no day of the next 50 years fits it") from None
    except (AssertionError, ArithmeticError):  # cronsim's own, of odd mixtures such as 1#2/3
        raise ValueError(f"{shown} is no cron expression: it cannot be read") from None
    return fields
