"""What lists gather is bounded, and their numbers are those of expressions."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from dray.actors.errors import ExpressionError
from dray.actors.expressions.bounds import Limits, limits


@pytest.fixture
def small() -> Iterator[None]:
    token = limits.set(Limits(None, 100_000))
    yield
    limits.reset(token)


@pytest.mark.parametrize(
    ("node_type", "config"),
    [
        ("reduce", {"reduce_function": "acc + acc"}),
        ("reduce", {"reduce_function": "[acc, acc]"}),
        ("map", {"map_expression": "item + item + item + item + item"}),
        ("map", {"map_expression": "{'a': [input, input, input]}"}),
    ],
)
def test_a_list_that_grows_without_end_fails_soon(
    small: None, run: Any, node_type: str, config: dict[str, Any]
) -> None:
    items = ["x" * 100] * 1_000
    tracemalloc.start()
    try:
        with pytest.raises(ExpressionError, match="more than 100,000 bytes, 4 times DRAY_MAX_OUTPUT_BYTES"):
            run(node_type, config, input=items, inputs={"a": items})
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_rows_keep_their_ids_and_their_halves(run: Any) -> None:
    rows = [{"id": 7615917337495251231, "qty": 5, "price": 9}, {"id": 17, "qty": 1, "price": 9.5}]
    config = {"map_expression": "(item) => {id: item.id, total: item.qty * item.price, half: item.qty / 2}"}
    found = run("map", config, inputs={"a": rows})["result"]
    assert found == [{"id": 7615917337495251231, "total": 45, "half": 2.5}, {"id": 17, "total": 9.5, "half": 0.5}]
    assert all(type(row["id"]) is int for row in found)


@pytest.mark.parametrize("condition_type", ["javascript", "python", "jsonpath"])
def test_a_condition_on_a_quotient(run: Any, condition_type: str) -> None:
    config = {"condition": "done / total >= 0.5", "condition_type": condition_type}
    assert run("condition", config, input={"done": 1, "total": 2}).label == "true"
