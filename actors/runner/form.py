"""The one form of a value: that in which Postgres gives jsonb back. An output is brought to it where it is made, so
that who reads it from the driver's memory, and who reads it from the database after a park or a crash, read the same.

The keys of an object are ordered by their length in bytes, then by their bytes; of two that are the same as text the
last is kept. Numbers are exact decimals there: 1e16 comes back as 10000000000000000, which is a whole number, and -0.0
as 0.0. All else comes back as it was.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

_PLAIN = frozenset({str, int, bool, type(None)})
_orders: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # keys -> in order: rows of one list have the same ones
_MOST, _FEW, _SHORT = 1_000, 50, 100  # of such; keys in each; characters of a key
_WITH_EXPONENT = 1e16  # from here on Python writes a double with one, and Postgres without a point


def one_form(value: Any) -> Any:
    """The value as a reader of jsonb has it. What JSON cannot hold is left for the encoder to complain about."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return _object(value)
    if isinstance(value, (list, tuple)):
        found = []
        for item in value:
            found.append(item if type(item) in _PLAIN else one_form(item))  # a frame less per level
        return found
    return value


def _number(value: float) -> int | float:
    if not value:
        return 0.0
    if -_WITH_EXPONENT < value < _WITH_EXPONENT or value - value != 0:
        return value
    return int(Decimal(float.__repr__(value)))


def _object(value: dict[Any, Any]) -> dict[Any, Any]:
    if type(value) is not dict:
        value = dict(value.items())
    keys = tuple(value)
    order = _orders.get(keys)
    if order is None:
        if any(not isinstance(key, str) for key in keys):
            value = _with_texts(value)
        order = _order(tuple(value))
    found = {}
    for key in order:
        item = value[key]
        found[key] = item if type(item) in _PLAIN else one_form(item)
    return found


def _order(keys: tuple[Any, ...]) -> tuple[Any, ...]:
    order = tuple(sorted(keys, key=_in_bytes))
    if len(keys) <= _FEW and all(isinstance(key, str) and len(key) <= _SHORT for key in keys):
        if len(_orders) >= _MOST:
            _orders.clear()
        _orders[keys] = order
    return order


def _with_texts(value: dict[Any, Any]) -> dict[Any, Any]:
    """Keys that are no texts as JSON has them; others that JSON has none for are left."""
    found = {}
    for key, item in value.items():
        is_known = key is None or isinstance(key, (bool, int, float))
        found[json.dumps(key, allow_nan=False) if is_known else key] = item
    return found


def _in_bytes(key: Any) -> tuple[int, bytes]:
    text = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else b""
    return len(text), text
