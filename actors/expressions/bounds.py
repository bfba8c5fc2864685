"""What an expression may cost. It always ends, but not always soon: macros in macros visit n * n items. And it may give
more than was put in: `acc + acc` doubles its text with each item of a reduce, `rows.map(r, rows)` squares a list.

So macros count their items, and look now and then whether the node is cancelled or over its time; and no value that an
expression makes may be larger than a few outputs of a node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from dray.actors.errors import ExpressionError

MAX_STEPS = 1_000_000  # items that all macros of one evaluation visit together: about a second
MAX_GROWTH = 10_000  # how many times a value may come to stand in the result of maps of maps
LOOK = 16  # steps between two looks whether to stop; a power of two
OUTPUTS = 4  # a value may be so many times as large as an output: what is left of it is picked out later


class Limits(NamedTuple):
    """should_stop: whether the node that is evaluating should. max_bytes: of one value."""

    should_stop: Callable[[], bool] | None = None
    max_bytes: int = OUTPUTS << 20


# Set for each call of a handler.
limits: ContextVar[Limits] = ContextVar("limits", default=Limits())  # noqa: B039  # a tuple


class Stopped(Exception):  # what becomes of an evaluation
    """It costs too much; nothing in it goes on over that. is_late: another time it may be soon enough."""

    def __init__(self, why: str, is_late: bool = False) -> None:
        super().__init__(why)
        self.is_late = is_late


def too_large(max_bytes: int) -> Stopped:
    return Stopped(
        f"makes a value of more than {max_bytes:,} bytes, {OUTPUTS} times DRAY_MAX_OUTPUT_BYTES: "
        "make less of it, or keep it elsewhere"
    )


def gathered(values: Iterable[Any]) -> list[Any]:
    """The values, as long as they fit together. Raises ExpressionError."""
    room = limits.get().max_bytes
    found = []
    for value in values:
        room = left_over(value, room)
        if room < 0:
            raise ExpressionError(f"the list {too_large(limits.get().max_bytes)}")
        found.append(value)
    return found


def left_over(value: Any, room: int, odd: list[Any] | None = None) -> int:
    """What is left of so many bytes once the value is written as JSON, roughly; below 0 it does not fit, and the rest
    of it was not looked at. odd: is given what JSON cannot hold as it is."""
    kind = type(value)
    if kind is str:
        room -= len(value) + 2
    elif kind is dict:
        room -= 2 + 4 * len(value)
        for key, item in value.items():
            if type(key) is str:
                room -= len(key)
            elif odd is not None:
                odd.append(key)
            room = left_over(item, room, odd)
            if room < 0:
                break
    elif kind is list:
        room -= 2 + len(value)
        for item in value:
            room = left_over(item, room, odd)
            if room < 0:
                break
    elif kind is int:
        room -= 2 + value.bit_length() // 3
    elif value is None or kind is bool:
        room -= 4
    else:
        room = _of_another(value, room, odd)
    return room


def _of_another(value: Any, room: int, odd: list[Any] | None) -> int:
    if odd is not None and not (type(value) is float and math.isfinite(value)):
        odd.append(value)
    if isinstance(value, Mapping):  # a handler's own
        return left_over(dict(value), room, odd)
    return left_over(list(value), room, odd) if isinstance(value, list | tuple) else room - 18
