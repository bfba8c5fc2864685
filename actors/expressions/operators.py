"""What the operators of expressions do.

Numbers are JSON's: whole ones are exact however long they are, the others are doubles. Where the two meet, or a
division leaves a rest, the result is a double; nothing else changes.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any

from dray.actors.expressions.values import NUMBERS, TOO_LARGE, Failed, as_int, undefined, wanted, whole

_ORDERED = frozenset({int, float, str, bool, bytes, datetime.datetime, datetime.timedelta})

# Comparing


def equal(left: Any, right: Any) -> bool:
    """1 and 1.0 are equal, true and 1 are not."""
    one, other = type(left), type(right)
    if one is other and one is not list and one is not dict:
        return bool(left == right)
    if one is bool or other is bool:
        return False
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return len(left) == len(right) and all(key in right and equal(left[key], right[key]) for key in left)
    return bool(left == right)


def less(left: Any, right: Any) -> bool:
    _comparable("<", left, right)
    return bool(left < right)


def at_most(left: Any, right: Any) -> bool:
    _comparable("<=", left, right)
    return bool(left <= right)


def more(left: Any, right: Any) -> bool:
    _comparable(">", left, right)
    return bool(left > right)


def at_least(left: Any, right: Any) -> bool:
    _comparable(">=", left, right)
    return bool(left >= right)


def _comparable(operator: str, left: Any, right: Any) -> None:
    one, other = type(left), type(right)
    if not ((one is other and one in _ORDERED) or (one in NUMBERS and other in NUMBERS)):
        raise undefined(operator, left, right)


def is_in(what: Any, among: Any) -> bool:
    if isinstance(among, list | tuple):
        return any(equal(what, each) for each in among)
    if isinstance(among, Mapping):
        return isinstance(what, str | int) and what in among
    raise wanted("x in y looks into a list or a map (into a text: y.contains(x))", among)


# Calculating


def plus(left: Any, right: Any) -> Any:
    one, other = type(left), type(right)
    if one in NUMBERS and other in NUMBERS:
        return whole(left + right) if one is other else _mixed(left, right, _add)
    if (one is other and one in (str, list, bytes, datetime.timedelta)) or {one, other} == _TIMES:
        return left + right
    raise undefined("+", left, right)


_TIMES = {datetime.datetime, datetime.timedelta}


def minus(left: Any, right: Any) -> Any:
    one, other = type(left), type(right)
    if one in NUMBERS and other in NUMBERS:
        return whole(left - right) if one is other else _mixed(left, right, _subtract)
    if (one is datetime.datetime and other in _TIMES) or (one is other and one is datetime.timedelta):
        return left - right
    raise undefined("-", left, right)


def times(left: Any, right: Any) -> Any:
    one, other = type(left), type(right)
    if one in NUMBERS and other in NUMBERS:
        return whole(left * right) if one is other else _mixed(left, right, _multiply)
    raise undefined("*", left, right)


def divided(left: Any, right: Any) -> Any:
    """A whole number where whole numbers leave no rest, else a double."""
    _divisible("/", left, right)
    if type(left) is int and type(right) is int:
        found, rest = divmod(left, right)
        if not rest:
            return found
    return _mixed(left, right, _divide)


def quotient(left: Any, right: Any) -> int:
    """int(a / b): exact, where both are whole."""
    _divisible("/", left, right)
    if type(left) is int and type(right) is int:
        found = abs(left) // abs(right)
        return found if (left < 0) == (right < 0) else -found
    return as_int(_mixed(left, right, _divide))


def rest_of(left: Any, right: Any) -> Any:
    """With the sign of the left one, as in CEL and JavaScript."""
    _divisible("%", left, right)
    if type(left) is int and type(right) is int:
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    return _mixed(left, right, math.fmod)


def negative(value: Any) -> Any:
    if type(value) in NUMBERS:
        return -value
    raise wanted("-x takes a number", value)


def _divisible(operator: str, left: Any, right: Any) -> None:
    if type(left) not in NUMBERS or type(right) not in NUMBERS:
        raise undefined(operator, left, right)
    if right == 0:
        raise Failed("division by zero, which JSON has no number for")


def _mixed(left: Any, right: Any, what: Callable[[float, float], float]) -> float:
    try:
        return what(float(left), float(right)) if what is not _divide else left / right
    except (OverflowError, ValueError):  # a whole number beyond 1e308; the rest of what is infinite
        raise Failed(TOO_LARGE) from None


def _add(left: float, right: float) -> float:
    return left + right


def _subtract(left: float, right: float) -> float:
    return left - right


def _multiply(left: float, right: float) -> float:
    return left * right


def _divide(left: float, right: float) -> float:
    return left / right


# Of two values, but for the sum: its size is looked at before it is made.
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "-": minus, "*": times, "/": divided, "%": rest_of, "==": equal, "<": less, "<=": at_most, ">": more,
    ">=": at_least, "in": is_in, "!=": lambda left, right: not equal(left, right),
}  # fmt: skip
