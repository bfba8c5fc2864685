"""The functions of expressions, by name: f(x, y) and x.f(y) are the same."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from dray.actors.expressions.values import (
    MISSING,
    Failed,
    Optional,
    as_double,
    as_int,
    as_string,
    as_text,
    as_uint,
    contains,
    ends_with,
    kind_of,
    library,
    matches,
    size,
    starts_with,
    wanted,
)  # fmt: skip  # isort: skip


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise wanted("bytes() takes a text", value)
    return value.encode()


def _timestamp(value: Any) -> Any:
    return value if isinstance(value, datetime.datetime) else library("timestamp(a)", value)


def _duration(value: Any) -> Any:
    return value if isinstance(value, datetime.timedelta) else library("duration(a)", value)


def _part(name: str) -> Callable[[Any], Any]:
    return lambda value: library(f"a.{name}()", value)


def _optional(value: Any) -> Optional:
    if not isinstance(value, Optional):
        raise wanted("this is a function of optionals", value)
    return value


def _value(value: Any) -> Any:
    found = _optional(value).value
    if found is MISSING:
        raise Failed("optional.none() has no value: write .orValue(other)")
    return found


def _or(value: Any, other: Any) -> Any:
    return value if _optional(value).value is not MISSING else _optional(other)


def _or_value(value: Any, other: Any) -> Any:
    found = _optional(value).value
    return other if found is MISSING else found


_PARTS = (
    "getFullYear getMonth getDayOfYear getDayOfMonth "
    "getDate getDayOfWeek getHours getMinutes getSeconds getMilliseconds"
)
# Name -> how many values it takes at least and at most, and what it gives for them.
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "size": (1, 1, size),
    "contains": (2, 2, contains),
    "startsWith": (2, 2, starts_with),
    "endsWith": (2, 2, ends_with),
    "matches": (2, 2, matches),
    "type": (1, 1, kind_of),
    "dyn": (1, 1, lambda value: value),
    "string": (1, 1, as_string),
    "text": (1, 1, as_text),
    "int": (1, 1, as_int),
    "uint": (1, 1, as_uint),
    "double": (1, 1, as_double),
    "bytes": (1, 1, _bytes),
    "timestamp": (1, 1, _timestamp),
    "duration": (1, 1, _duration),
    **{name: (1, 1, _part(name)) for name in _PARTS.split()},
    "optional.of": (1, 1, Optional),
    "optional.none": (0, 0, Optional),
    "optional.ofNonZeroValue": (1, 1, lambda value: Optional(value if value else MISSING)),
    "hasValue": (1, 1, lambda value: _optional(value).value is not MISSING),
    "value": (1, 1, _value),
    "or": (2, 2, _or),
    "orValue": (2, 2, _or_value),
}
