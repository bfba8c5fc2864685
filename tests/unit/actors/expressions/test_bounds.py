"""Expressions that would take for ever are stopped, and the others come out as they would without the counting."""

from __future__ import annotations

import json
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from functools import reduce
from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dray.actors.context import NodeContext
from dray.actors.errors import ExpressionError, NodeError
from dray.actors.expressions import bounds
from dray.actors.expressions.bounds import OUTPUTS, Limits, left_over, limits
from dray.actors.expressions.config import compile_config, evaluate, prepare
from dray.actors.registry import handler
from tests.unit.actors.runner.harness import PATIENCE, Harness

MACROS = [
    "a.all(x, a.all(y, y + x >= 0))",
    "a.exists(x, a.exists(y, y + x < 0))",
    "a.exists_one(x, a.exists_one(y, y + x < 0))",
    "a.map(x, a.map(y, y + x)).size() > 0",
    "a.map(x, x > 1, a.filter(y, y == x))",
    "a.filter(x, a.exists(y, y == x && a.all(z, z >= 0))).map(x, {'n': x})",
    "a.exists(x, a.map(y, y + x).size() < 0) || true",
]


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_STEPS", 100)


@pytest.mark.parametrize("text", MACROS)
@pytest.mark.parametrize("values", [[], [0], [2, 1, 2, 5]])
def test_counting_changes_nothing(text: str, values: list[int]) -> None:
    assert evaluate(text, {"a": values}) == cel.compile(text).execute({"a": values})


@pytest.mark.parametrize("text", MACROS)
def test_too_many_steps_are_an_error(few_steps: None, text: str) -> None:
    with pytest.raises(ExpressionError, match="more than 100 items: use map, filter or code"):
        evaluate(text, {"a": list(range(50))})


def test_a_node_that_is_out_of_time_stops_in_the_middle() -> None:
    asked: list[int] = []
    token = limits.set(Limits(lambda: len(asked) > 5 or asked.append(1) is not None))
    try:
        with pytest.raises(NodeError, match="out of time") as caught:
            evaluate("a.all(x, a.all(y, true))", {"a": list(range(1_000))})
    finally:
        limits.reset(token)
    assert caught.value.retryable, "another time it may be soon enough"


def test_a_cancelled_node_stops_in_an_expression(own_registry: None, harness: Harness) -> None:
    evaluating = threading.Event()

    @handler("long")
    def long(config: dict[str, Any], ctx: NodeContext) -> Any:
        evaluating.set()
        while True:  # the steps of one are not enough for a test that waits for the cancel
            ctx.evaluate("a.all(x, a.all(y, true))", a=list(range(900)))

    ids = harness.start("long")
    assert evaluating.wait(PATIENCE)
    harness.runner.cancel(ids)
    (result,) = harness.wait(ids)
    assert result.failure is not None
    assert result.failure.type == "cancelled"


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_other_threads_get_their_turn_while_macros_run(quick_switches: None) -> None:
    turns = 0
    seen: list[int] = []
    is_over = threading.Event()

    def count() -> None:
        nonlocal turns
        while not is_over.is_set():
            turns += 1

    def stop() -> bool:
        """Asked in the middle of an evaluation: whether there was a turn since it began."""
        seen.append(turns)
        return seen[-1] > seen[0]

    thread = threading.Thread(target=count)
    thread.start()
    token = limits.set(Limits(stop))

    def again_and_again() -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            seen.clear()
            evaluate("a.all(x, a.all(y, true))", {"a": list(range(900))})

    try:
        with pytest.raises(NodeError, match="out of time"):
            again_and_again()
    finally:
        limits.reset(token)
        is_over.set()
        thread.join()


def test_growth() -> None:
    fine = "a.map(x, {'a': x.a, 'b': x.b, 'c': x.c}).map(y, [y, y.a, y.b]).filter(z, z.a + z.b + z.a > z.b)"
    for text in ("[1]" + ".map(x, [x, x])" * 14, "a.map(x, " + "x + " * 200 + "x.map(y, [" + "y, " * 60 + "y]))", fine):
        problems = prepare({"a": f"{{{{ {text} }}}}"}, None, set()).problems
        assert ["copy their items" in message for _, message in problems] == ([] if text == fine else [True])


# Sizes


@pytest.fixture
def small() -> Iterator[int]:
    """What one value may have, in bytes."""
    token = limits.set(Limits(None, 10_000))
    yield 10_000
    limits.reset(token)


TOO_LARGE = "makes a value of more than 10,000 bytes, 4 times DRAY_MAX_OUTPUT_BYTES"


@pytest.mark.parametrize(
    ("expression", "start"),
    [("acc + acc", "ab"), ("acc + acc", [1, 2]), ("[acc, acc]", 1), ("{'a': acc, 'b': acc}", 1),
     ("text([acc, acc])", "a"),
     ("[acc] + [acc]", 1), ("acc.map(x, acc)", [[1], [2]]), ("acc * acc * 7", 10**9)],
)  # fmt: skip
def test_what_doubles_with_each_step_of_a_reduce_ends_soon(small: int, expression: str, start: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ExpressionError, match=f"{TOO_LARGE}|longer than 4,000 digits"):
            reduce(lambda acc, _: evaluate(expression, {}, {"acc": acc}), range(100), start)
        assert tracemalloc.get_traced_memory()[1] < 50 * small
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        "rows.map(r, rows.map(r, s))", "rows.map(r, {'a': s, 'b': s})", "rows.map(r, s + s).size() > 1",
        "rows.map(r, text(rows) + s)", "[s, s, s, s, s, s, s, s, s, s, s]", "text(rows.map(r, s)).contains('a')",
        "{'a': {'a': [s + s + s + s + s + s + s + s + s + s]}}",
        "rows.exists(r, (s + s + s + s + s + s + s + s + s + s + s).contains('y'))",
    ],
)  # fmt: skip
def test_what_is_too_large_is_told(small: int, text: str) -> None:
    with pytest.raises(ExpressionError, match=TOO_LARGE):
        evaluate(text, {"rows": list(range(20)), "s": "x" * 1_000})


@pytest.mark.parametrize("text", ["[%s]", "{%s}.size()", "size([[%s]])", "[0].map(x, [%s]).size()"])
def test_a_long_row_of_large_values_ends_in_time(small: int, text: str) -> None:
    is_map = text.startswith("{")
    text = text.replace("%s", ", ".join(f"{f'{n}: ' if is_map else ''}[s + s]" for n in range(500)))
    tracemalloc.start()
    try:
        with pytest.raises(ExpressionError, match=TOO_LARGE):
            evaluate(text, {"s": "x" * 4_000})
        assert tracemalloc.get_traced_memory()[1] < 200 * small, "500 times 8,000 would be twice as much"
    finally:
        tracemalloc.stop()


def test_what_is_looked_at_and_dropped_counts_for_nothing(small: int) -> None:
    rows = [{"t": "x" * 500} for _ in range(1_000)]
    assert evaluate("rows.filter(r, (r.t + r.t).contains('y') || text(r) == '').size()", {"rows": rows}) == 0
    assert evaluate("rows", {"rows": rows}) is rows, "what is only handed on was let in before"


def test_a_template_repeats_a_text_up_to_the_bound(small: int) -> None:
    config = compile_config({"a": "{{ input.s }}" * 9, "b": ["{{ input.s }}"]})
    assert len(config.render({"input": {"s": "x" * 1_000}})["a"]) == 9_000
    for config in (compile_config({"a": "{{ input.s }}" * 11}), compile_config({"a": ["{{ input.l }}"] * 11}),
                   compile_config({"a": {"b": ["- {{ input.s }}"] * 11}})):  # fmt: skip
        with pytest.raises(ExpressionError, match=TOO_LARGE):
            config.render({"input": {"s": "x" * 1_000, "l": ["x" * 1_000]}})


def test_the_bound_goes_with_that_of_an_output(own_registry: None, harness: Harness) -> None:
    found: list[int] = []

    @handler("grow")
    def grow(config: dict[str, Any], ctx: NodeContext) -> Any:
        text = "x"
        while len(text) < 1 << 30:
            text = ctx.evaluate("t + t", t=text)
            found.append(len(text))

    (result,) = harness.wait(harness.start("grow"))
    assert result.failure is not None
    assert "DRAY_MAX_OUTPUT_BYTES" in result.failure.message
    assert harness.runner._max_bytes < found[-1] <= OUTPUTS * harness.runner._max_bytes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_the_size_is_about_that_of_the_json(value: Any) -> None:
    weight = 10**9 - left_over(value, 10**9)
    length = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    assert length / 12 <= weight <= 8 * length
    assert left_over(value, weight) == 0
    assert left_over(value, weight - 1) < 0
