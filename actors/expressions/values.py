"""The values of expressions: their kinds, and what makes one of another. What few expressions use (regular expressions,
timestamps, durations) the CEL library does, one operation at a time."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import cel

MAX_BITS = 13_300  # of a whole number: 4,000 digits, as many as an output may have
MISSING = object()
TOO_LARGE = "a number is too large to be calculated with as a double"
_WHOLE = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
NUMBERS = frozenset({int, float})


class Failed(Exception):  # what an expression does
    """The expression has no value; why."""


class Missing(Failed):
    """A key or a name is not there. path: where there is one."""

    def __init__(self, why: str, path: tuple[str | int, ...] | None = None) -> None:
        super().__init__(why)
        self.path = path


class Optional:
    """optional.of(x), optional.none()."""

    __slots__ = ("value",)

    def __init__(self, value: Any = MISSING) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optional) and (self.value is other.value or bool(self.value == other.value))

    __hash__ = None  # type: ignore[assignment]


# Kinds


def kind_of(value: Any) -> str:
    """As type(x) says it."""
    if value is None:
        return "null_type"
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return type(value).__name__


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "bool"), (int, "int"), (float, "double"), (str, "string"), ((list, tuple), "list"), (Mapping, "map"),
    (bytes, "bytes"), (datetime.datetime, "timestamp"), (datetime.timedelta, "duration"), (Optional, "optional"),
)  # fmt: skip


def undefined(operator: str, left: Any, right: Any) -> Failed:
    kinds = f"{kind_of(left)} {operator} {kind_of(right)}".replace("null_type", "null")
    return Failed(f"{kinds} is not defined: convert with string(x), int(x) or double(x)")


def wanted(what: str, value: Any) -> Failed:
    return Failed(f"{what}, not {kind_of(value).replace('null_type', 'null')}")


def whole(value: Any) -> Any:
    if type(value) is int and value.bit_length() > MAX_BITS:
        raise Failed("a whole number becomes longer than 4,000 digits")
    return value


# Converting


def as_int(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and math.isfinite(value):
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    said = f"int() cannot read {value[:40]!r}: a text must be a whole number" if isinstance(value, str) else ""
    raise Failed(said) if said else wanted("int() takes a number or a text", value)


def as_uint(value: Any) -> int:
    found = as_int(value)
    if not 0 <= found < 1 << 64:
        raise Failed(f"uint() takes 0 to {(1 << 64) - 1}")
    return found


def as_double(value: Any) -> float:
    if type(value) in NUMBERS:
        try:
            return float(value)
        except OverflowError:
            raise Failed(TOO_LARGE) from None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    said = f"double() cannot read {value[:40]!r}: a text must be a number" if isinstance(value, str) else ""
    raise Failed(said) if said else wanted("double() takes a number or a text", value)


def as_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _digits(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime.datetime | datetime.timedelta):
        return str(library("string(a)", value))
    raise wanted("string() takes a number, a text or a time (text(x) takes anything)", value)


def _digits(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")


def as_text(value: Any) -> str:
    """How a value is put into a text: strings as they are, null as nothing, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def size(value: Any) -> int:
    """Of a text the characters (code points)."""
    if isinstance(value, str | list | tuple | Mapping | bytes):
        return len(value)
    raise wanted("size() takes a text, a list or a map", value)


def contains(text: Any, what: Any) -> bool:
    _texts("contains", text, what)
    return what in text


def starts_with(text: Any, what: Any) -> bool:
    _texts("startsWith", text, what)
    return bool(text.startswith(what))


def ends_with(text: Any, what: Any) -> bool:
    _texts("endsWith", text, what)
    return bool(text.endswith(what))


def matches(text: Any, pattern: Any) -> bool:
    """By the library: its regular expressions take linear time, Python's may take for ever."""
    _texts("matches", text, pattern)
    return bool(library("a.matches(b)", text, pattern))


def _texts(name: str, *values: Any) -> None:
    for value in values:
        if not isinstance(value, str):
            raise wanted(f"{name}() takes texts", value)


def json_value(value: Any) -> Any:
    """A result as JSON: a timestamp as RFC 3339, a duration as seconds with an "s", an optional as its value."""
    match value:
        case None | bool() | int() | str():
            return whole(value)
        case float() if math.isfinite(value):
            return value
        case list() | tuple():
            return [json_value(item) for item in value]
        case Mapping() if all(isinstance(key, str) for key in value):
            return {key: json_value(item) for key, item in value.items()}
        case datetime.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case datetime.timedelta():
            return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
        case Optional():
            return None if value.value is MISSING else json_value(value.value)
    kind = f"the number {value}" if isinstance(value, float) else kind_of(value)
    kind = "a map with keys that are no strings" if isinstance(value, Mapping) else kind
    raise Failed(f"gives {kind}, which JSON cannot hold: convert it")


def library(text: str, *values: Any) -> Any:
    """What the CEL library gives for an expression over a, b, c."""
    try:
        return _compiled(text).execute(dict(zip("abc", values, strict=False)))
    except Exception as error:  # noqa: BLE001  # it raises Runtime-, Type-, OverflowError and others
        reason = str(error).removesuffix(" Check function arguments and their types.").partition("\n")[0]
        kinds = ", ".join(map(kind_of, values))
        raise Failed(f"{text} of {kinds}: {reason[:300]}") from None


@lru_cache(100)
def _compiled(text: str) -> cel.Program:
    return cel.compile(text)
