"""Spans of time as people write them: 90s, 15m, 1h30m, 7d. Pure."""

from __future__ import annotations

import re
from datetime import timedelta

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
MOST = 100 * 366 * UNITS["d"]
_PART = re.compile(r"([0-9]{1,12})\s*([smhdw])")


def span_of(text: str) -> timedelta:
    """Numbers, each with its unit, which are added. Raises ValueError that says how to write it."""
    found = text.strip().lower()
    parts = _PART.findall(found)
    if not parts or _PART.sub("", found).strip():
        raise ValueError("write numbers with s, m, h, d or w, e.g. 90s, 1h30m, 7d")
    seconds = sum(int(number) * UNITS[unit] for number, unit in parts)
    if seconds > MOST:
        raise ValueError("100 years are the most")
    return timedelta(seconds=seconds)
