"""Expressions that would take for ever are stopped, and the others come out as they would without the counting."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dray.actors.context import NodeContext
from dray.actors.errors import ExpressionError, NodeError
from dray.actors.expressions import bounds
from dray.actors.expressions.bounds import GO_ON, Steps, check_growth, stopping, with_steps
from dray.actors.expressions.config import evaluate
from dray.actors.expressions.source import SourceError
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


@pytest.mark.parametrize("text", MACROS)
def test_no_macro_goes_far_once_it_is_told_to_stop(few_steps: None, text: str) -> None:
    steps = Steps()
    program = cel.compile(with_steps(text))
    with contextlib.suppress(Exception):  # a map ends with an error
        program.execute(cel.Context({"a": list(range(300))}, {GO_ON: steps}))
    assert steps.why is not None
    assert steps.count <= 100 + 3 * 300, "each of the macros around it ends its own list at most, and begins no new one"


def test_a_node_that_is_out_of_time_stops_in_the_middle() -> None:
    asked: list[int] = []
    token = stopping.set(lambda: len(asked) > 5 or asked.append(1) is not None)
    try:
        with pytest.raises(NodeError, match="out of time") as caught:
            evaluate("a.all(x, a.all(y, true))", {"a": list(range(1_000))})
    finally:
        stopping.reset(token)
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
    token = stopping.set(stop)

    def again_and_again() -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            seen.clear()
            evaluate("a.all(x, a.all(y, true))", {"a": list(range(900))})

    try:
        with pytest.raises(NodeError, match="out of time"):
            again_and_again()
    finally:
        stopping.reset(token)
        is_over.set()
        thread.join()


def test_growth() -> None:
    check_growth("a.map(x, {'a': x.a, 'b': x.b, 'c': x.c}).map(y, [y, y.a, y.b]).filter(z, z.a + z.b + z.a > z.b)")
    for text in ("[1]" + ".map(x, [x, x])" * 14, "a.map(x, " + "x + " * 200 + "x.map(y, [" + "y, " * 60 + "y]))"):
        with pytest.raises(SourceError, match="copy their items"):
            check_growth(text)


PIECES = st.sampled_from("a x . ( ) [ ] , .map(x, .filter(x, .all(x, .exists_one(x, 1 + > 'x' {".split())


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=20).map("".join))
def test_no_text_is_too_much(text: str) -> None:
    assert len(with_steps(text)) >= len(text)
    with contextlib.suppress(SourceError):  # a text may be refused, but nothing else may come of it
        check_growth(text)
