"""Numbers are what JSON, JavaScript and Python take them for: a quotient is not cut off, and an id stays what it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dray.actors.errors import ExpressionError
from dray.actors.expressions.config import compile_config, evaluate, prepare

ID = 7615917337495251231  # of 64 bits: no double has it


def template(text: str, **given: Any) -> Any:
    prepared = prepare({"a": text}, None, set())
    assert prepared.problems == []
    return compile_config(prepared.config).render({"input": given})["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("done / total >= 0.5", True),
        ("done / total", 0.5),
        ("[5, 5.0, 5.5].map(x, x / 2)", [2.5, 2.5, 2.75]),
        ("[5, 4, -7, 7].map(x, x / 2)", [2.5, 2, -3.5, 3.5]),
        ("int(5 / 2) + int(-5 / 2) + int(5.5 / 2)", 2),
        ("int(id / 2)", ID // 2),
        ("int(id * 4 / 2 / 2)", ID),
        ("id / 1", ID),
        ("10 / 2 + 1", 6),
        ("[1, 2, 3][4 / 2]", 3),
        ("7 % 2 + -7 % 2", 0),
        ("7.5 % 2", 1.5),
        ("big % 2", 0.0),
        ("big % 2 == 0", True),
        ("double(7) / 2", 3.5),
    ],
)
def test_a_quotient(text: str, value: Any) -> None:
    found = evaluate(text, {"done": 1, "total": 2, "id": ID, "big": 1e16})
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize("price", [9, 9.5])
def test_an_id_stays_what_it_is_beside_what_becomes_a_double(price: float) -> None:
    text = '{"id": item.id, "other": [item.id + 1], "total": item.qty * item.price, "half": item.qty / 2}'
    found = evaluate(text, {}, {"item": {"id": ID, "qty": 3, "price": price}})
    assert found == {"id": ID, "other": [ID + 1], "total": 3 * price, "half": 1.5}
    assert [type(each) for each in found.values()] == [int, list, type(price), float]
    assert type(found["other"][0]) is int


def test_an_id_is_the_same_in_a_text_a_url_and_json() -> None:
    order = {"id": ID, "qty": 2, "price": 9.5}
    assert (
        template("/orders/{{ input.o.id }}?total={{ o.qty * o.price + 0 * o.id }}", o=order)
        == f"/orders/{ID}?total=19.0"
    )
    assert template("{{ {'id': input.o.id, 'total': o.qty * o.price} }}!", o=order) == f'{{"id": {ID}, "total": 19.0}}!'
    assert template("{{ o.price > 1 ? o.id : 1.5 }}", o=order) == ID
    assert template("`/orders/${o.id}/${o.price * 2}`", o=order) == "`/orders/${o.id}/${o.price * 2}`"
    assert template("{{ `/orders/${o.id}/${o.price * 2}` }}", o=order) == f"/orders/{ID}/19.0"
    assert template("{{ string(o.id) + string(o.price * 2) }}", o=order) == f"{ID}19"


@pytest.mark.parametrize(
    ("text", "value"),
    [("9223372036854775807 + 1", 2**63), ("id * id", ID**2), ("id - id * 3", -2 * ID), ("id == id + 0.0", False),
     ("id > 1.5 && id < 1e19", True), ("-9223372036854775808 - 1", -(2**63) - 1), ("int('7615917337495251231')", ID),
     ("rows.map(r, r.n * 2)", [2, 5.0]), ("[1.0, 1][i]", 1), ("double(id) == id * 1.0", True)],
)  # fmt: skip
def test_whole_numbers_are_exact_however_long(text: str, value: Any) -> None:
    found = evaluate(text, {"id": ID, "rows": [{"n": 1}, {"n": 2.5}], "i": 1})
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("n / 0", "division by zero"), ("1.5 / 0", "division by zero"), ("n % 0", "division by zero"),
     ("n * 1e308 * 100", "inf, which JSON cannot hold"), ("huge * 1.5", "too large"), ("huge / 7", "too large"),
     ("huge * huge * huge * huge * huge * huge * huge * huge * huge * huge * huge", "longer than 4,000 digits"),
     ("int('1.5')", "must be a whole number"), ("double('x')", "must be a number")],
)  # fmt: skip
def test_what_is_no_number_is_told(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        evaluate(text, {"n": 3, "huge": 10**400})


NUMBERS = st.integers(-(2**80), 2**80) | st.floats(-1e20, 1e20)


@given(NUMBERS, NUMBERS.filter(bool))
def test_calculating_is_pythons_but_for_the_sign_of_a_rest(a: Any, b: Any) -> None:
    def of(text: str) -> Any:
        return evaluate(text, {"a": a, "b": b})

    assert (of("a + b"), of("a - b"), of("a * b")) == (a + b, a - b, a * b)
    assert (of("a < b"), of("a == b"), of("a >= b")) == (a < b, a == b, a >= b)
    if isinstance(a, int) and isinstance(b, int):
        assert of("int(a / b)") * b + of("a % b") == a
        assert abs(of("a % b")) < abs(b)
        assert of("a / b") == (a // b if a % b == 0 else a / b)
    elif abs(a / b) < 1e300:
        assert of("a / b") == a / b


@pytest.mark.parametrize(("text", "length"), [("Müller", 6), ("日本語", 3), ("😀", 1), ("", 0), ("e\u0301", 2)])
def test_a_text_is_as_long_as_it_has_characters(text: str, length: int) -> None:
    scope = {"input": {"t": text, "rows": [{"t": text}]}}
    for written in ("size(input.t)", "input.t.size()", "len(input.t)", "input.t.length", "rows.map(r, size(r.t))[0]",
                    "rows.map(r, r.t.length)[0]"):  # fmt: skip
        assert evaluate(prepare({"a": f"{{{{ {written} }}}}"}, None, set()).config["a"][3:-3], scope) == length
