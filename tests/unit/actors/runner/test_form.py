"""The form in which Postgres gives jsonb back. tests/db/test_one_form.py compares it with Postgres itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from dray.actors.errors import ConfigError
from dray.actors.outside import environment
from dray.actors.outside.environment import HandlerEnv
from dray.actors.runner.answer import json_text


class Name(StrEnum):
    ONE = "one"


class Number(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"bb": 1, "a": 2, "ba": 3, "": 4}, '{"":4,"a":2,"ba":3,"bb":1}'),
        ({"é": 1, "zz": 2, "b": 3, "aaa": 4}, '{"b":3,"zz":2,"é":1,"aaa":4}'),
        ([{"b": [{"d": 1, "c": {"f": 1, "e": ()}}], "a": None}], '[{"a":null,"b":[{"c":{"e":[],"f":1},"d":1}]}]'),
        ([1e16, -1e16, 1e22, 1.2345678901234567e20],
         "[10000000000000000,-10000000000000000,10000000000000000000000,123456789012345670000]"),
        ([1.0, 5.5, -0.0, 0.0, 1e15, 9999999999999998.0], "[1.0,5.5,0.0,0.0,1000000000000000.0,9999999999999998.0]"),
        ([7615917337495251231, -1, 10**300, True], f"[7615917337495251231,-1,{10**300},true]"),
        ({2: "a", "1": "b", 1: "c", None: "d", 1.5: "f"}, '{"1":"c","2":"a","1.5":"f","null":"d"}'),
        ({False: "e", "b": 1}, '{"b":1,"false":"e"}'),
        ({Name.ONE: Name.ONE, "n": Number.ONE}, '{"n":1,"one":"one"}'),
        ({"big": 1.7976931348623157e308}, '{"big":17976931348623157' + "0" * 292 + "}"),
    ],
)  # fmt: skip
def test_the_form(value: Any, text: str) -> None:
    assert json_text(value, 10_000) == text
    assert json_text(json.loads(text), 10_000) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"b": float("nan")}}, r"output\.a\.b is nan"),
        ([float("inf")], r"output\[0\] is inf"),
        ({float("nan"): 1}, "a key of output is nan"),
        ({"x": {(1, 2): 1}}, r"a key of output\.x is a tuple"),
        ({"x": object()}, r"output\.x is a object"),
        ({"\ud800": 1, "b": 2}, "half of a surrogate pair"),
        ({"b": "\0", "a": 2}, "the character NUL"),
    ],
)
def test_what_json_cannot_hold_is_named_as_before(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        json_text(value, 10_000)


def test_what_is_hidden_in_a_key_does_not_change_the_form() -> None:
    environment.install(HandlerEnv({"MY_KEY": "aaaaaaaa-secret"}, ("MY_KEY",)))
    try:
        text = json_text({"aaaaaaaa-secret": 1, "between": 2, "x": "aaaaaaaa-secret"}, 10_000)
    finally:
        environment.install(HandlerEnv({}))
    assert "secret" not in text
    assert json_text(json.loads(text), 10_000) == text


@dataclass
class Order:
    total: float
    id: int
    zz: frozenset[str]
    when: date


WRAPS = [lambda order: order, lambda order: {"zz": [order], "a": order}, lambda order: (order, 1)]


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_is_turned_into_json_has_the_form_too(wrap: Callable[[Order], Any]) -> None:
    text = json_text(wrap(Order(1e16, 7, frozenset("ba"), date(2026, 1, 2))), 10_000)
    assert '{"id":7,"zz":["a","b"],"when":"2026-01-02","total":10000000000000000}' in text
    assert json_text(json.loads(text), 10_000) == text


def test_as_deep_as_the_encoder_goes() -> None:
    value: Any = 1
    for _ in range(300):
        value = [{"b": value, "a": 1}]
    assert json_text(value, 10_000).startswith('[{"a":1,"b":[')
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ConfigError, match="nested too deeply"):
        json_text(value, 1_000_000)


def test_what_pydantic_converts_is_in_that_form_too() -> None:
    @dataclass
    class Row:
        long_name: Any
        id: Any

    value = {"rows": [Row(1e16, date(2026, 1, 1))], date(2026, 1, 31): -0.0, "z": Decimal("1.50")}
    kept = '{"z":"1.50","rows":[{"id":"2026-01-01","long_name":10000000000000000}],"2026-01-31":0.0}'
    assert json_text(value, 10_000) == kept
