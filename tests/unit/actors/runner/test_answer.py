"""Whatever a handler gives or raises: one result that Postgres can hold, and a runner that goes on."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from dray.actors.context import Branch, NodeContext, Wait
from dray.actors.errors import ConfigError, NodeError
from dray.actors.messages import FailureType, NodeFailure
from dray.actors.registry import handler
from dray.actors.runner.answer import MAX_TEXT, MAX_TRACE, MAX_WAIT, clean, json_text
from tests.unit.actors.runner.harness import Harness

NEW_YEAR = datetime(2026, 1, 1, 8, 30, tzinfo=UTC)


class Order(BaseModel):
    when: datetime
    total: Decimal
    more: list[Any] = []


@dataclass(frozen=True, order=True)
class Point:
    x: Any
    y: Any


class Side(Enum):
    LEFT = "left"


ITSELF: list[Any] = []
ITSELF.append(ITSELF)
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


class Explodes(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items today")


def failure(harness: Harness, node_type: str, config: Any = None, **task: Any) -> NodeFailure:
    found = harness.run(node_type, config, **task).failure
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _still_works(harness: Harness, own_registry: None) -> Any:
    """After every misbehaviour the same runner runs the next node, and need not be replaced."""
    handler("next")(lambda config, ctx: {"still": "here"})
    yield
    assert harness.output("next") == {"still": "here"}
    assert harness.retiring is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {"b": math.nan}]}, "output.a[1].b is nan, which JSON cannot hold"),
        ([math.inf], "output[0] is inf"),
        ({"a": [{"b": object()}]}, "output.a[0].b is a object, which JSON cannot hold"),
        ({"a": (each for each in "ab")}, "output.a is a generator, which JSON cannot hold"),
        ({"a": {math.nan}}, "output.a[0] is nan, which JSON cannot hold"),
        ({date(2026, 1, 1): "x\0"}, "output.2026-01-01 contains the character NUL"),
        (Order(when=NEW_YEAR, total=Decimal("1.10"), more=[1, object()]), "output.more[1] is a object"),
        (Point(1, math.inf), "output.y is inf"),
        ({"a": Wait(1)}, "output.a is a Wait"),
        ({("a", 1): 2}, "a key of output is a tuple"),
        ({"a": "x\0y"}, "output.a contains the character NUL, which Postgres cannot hold"),
        ({"a": {"x\0": 1}}, "a key of output.a contains the character NUL"),
        ({"a": ["x\ud800"]}, "output.a[0] contains half of a surrogate pair (U+D800)"),
        (10**5_000, "more than 4000 digits"),
        (ITSELF, "the output is no JSON: Circular reference"),
        (DEEP, "the output is nested too deeply"),
        (Explodes(a=1), "the output is no JSON: no items today"),
        ("x" * 10_001, "the output has 10003 bytes, at most 10000 are stored"),
        (["ü" * 5_000], "the output has 10004 bytes"),
        (object(), "output is a object"),
        (Branch("x", Branch("y")), "output is a Branch"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) and len(value) < 100 else type(value).__name__,
)
@pytest.mark.parametrize("is_async", [False, True])
def test_output_that_cannot_be_stored_names_the_place(
    harness: Harness, value: Any, message: str, is_async: bool
) -> None:
    register("gives", lambda: value, is_async)
    found = failure(harness, "gives")
    assert (found.type, found.retryable) == ("config", False)
    assert message in found.message
    json.dumps(found.message).encode()


@pytest.mark.parametrize(
    "value", [None, 1, "", "\\u0000", '"\\', {"a": (1, 2)}, {1: 2, None: 3, False: 4}, "ü" * 4_999, [[]]]
)
def test_output_that_json_can_hold_is_kept(value: Any) -> None:
    assert json.loads(json_text(value, 10_000)) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (NEW_YEAR, "2026-01-01T08:30:00Z"),
        (date(2026, 1, 31), "2026-01-31"),
        (timedelta(minutes=90), "PT1H30M"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        (Side.LEFT, "left"),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset("a"), ["a"]),
        ((1, (2,)), [1, [2]]),
        (b"\xff\xfe", "__4="),
        (Path("/a/b"), "/a/b"),
        (Point(1, [Side.LEFT]), {"x": 1, "y": ["left"]}),
        (
            Order(when=NEW_YEAR, total=Decimal("1.10"), more=[Point(1, {2})]),
            {"when": "2026-01-01T08:30:00Z", "total": "1.10", "more": [{"x": 1, "y": [2]}]},
        ),
        (Order(when=NEW_YEAR, total=Decimal(1), more=[b"\xff"]).more, ["_w=="]),
        (
            {date(2026, 1, 31): 1, Side.LEFT: 2, UUID(int=1): 3, 4: 5},
            {
                "2026-01-31": 1,
                "left": 2,
                "00000000-0000-0000-0000-000000000001": 3,
                "4": 5,
            },
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_python_prints_easily_may_be_returned(harness: Harness, value: Any, kept: Any) -> None:
    register("gives", lambda: {"it": value}, False)
    assert harness.output("gives") == {"it": kept}


def test_a_traceback_is_kept_whole_with_its_causes(harness: Harness, given: Callable[..., None]) -> None:
    given(MY_TOKEN="never-shown-1")

    def inner() -> None:
        raise KeyError("never-shown-1")

    def raises() -> None:
        try:
            inner()
        except KeyError as error:
            raise ValueError("worse") from error

    register("raises", raises, False)
    trace = failure(harness, "raises").trace
    assert trace is not None
    lines = trace.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "    inner()" in lines
    assert "KeyError: '***'" in lines
    assert "The above exception was the direct cause of the following exception:" in lines
    assert lines[-1] == "ValueError: worse"
    assert "in run\n" not in trace, "how the runner came to the handler is nothing to its author"


def test_of_a_long_traceback_the_end_is_kept(harness: Harness) -> None:
    def raises() -> None:
        raise ValueError("ü" * 100_000 + "the end")

    register("raises", raises, False)
    trace = failure(harness, "raises").trace
    assert trace is not None
    assert trace.endswith("üthe end")
    assert len(trace.encode()) <= MAX_TRACE


def test_what_dray_says_of_a_config_has_no_traceback(harness: Harness) -> None:
    assert failure(harness, "condition", {"condition": "input.missing > 1"}, input="{}").trace is None

    def raises() -> None:
        raise NodeError("mine")

    register("raises", raises, False)
    assert "NodeError: mine" in str(failure(harness, "raises").trace)


@pytest.mark.parametrize("label", ["", "x" * 201, 7, "a\0", "\udc00", None])
def test_branch_needs_a_label_that_can_be_stored(harness: Harness, label: Any) -> None:
    register("gives", lambda: Branch(label, 1), False)
    assert failure(harness, "gives").type == "config"


def test_a_label_may_be_an_enums(harness: Harness) -> None:
    class Way(StrEnum):
        LEFT = "left"

    register("gives", lambda: Branch(Way.LEFT), False)
    branch = harness.run("gives").branch
    assert (branch, type(branch)) == ("left", str)


def test_a_wait_ends_within_what_a_date_can_hold(harness: Harness) -> None:
    register("gives", lambda: Wait(1e300), False)
    assert harness.run("gives").wait == MAX_WAIT


def test_a_plain_function_that_gives_a_coroutine_is_told_what_to_do(harness: Harness) -> None:
    async def hidden() -> None: ...

    register("gives", hidden, False)
    assert "write it as async def" in failure(harness, "gives").message


# Exceptions


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("cannot travel")
        self.lock = threading.Lock()


class Textless(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even text")


class Bare(NodeError):
    def __init__(self) -> None:  # without NodeError's own
        pass


@pytest.mark.parametrize(
    ("error", "expected_type", "message", "retryable"),
    [
        (NodeError("later"), "NodeError", "later", True),
        (NodeError("never", retryable=False), "NodeError", "never", False),
        (ConfigError("wrong"), "config", "wrong", False),
        (ValueError("bad"), "ValueError", "bad (test_answer.py, line ", True),
        (ValueError(), "ValueError", "ValueError without a message", True),
        (Unpicklable(), "Unpicklable", "cannot travel", True),
        (Textless(), "Textless", "(its text cannot be had: SystemExit)", True),
        (Bare(), "Bare", "(its text cannot be had: AttributeError)", True),
        (SystemExit(3), "SystemExit", "3", True),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt without a message", True),
        (GeneratorExit(), "GeneratorExit", "GeneratorExit", True),
        (MemoryError(), "MemoryError", "MemoryError", True),
        (asyncio.CancelledError(), "CancelledError", "CancelledError", True),
        (ValueError("a\0b\ud800"), "ValueError", "a\ufffdb?", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("is_async", [False, True])
def test_whatever_is_raised_is_this_nodes_failure(
    harness: Harness, error: BaseException, expected_type: str, message: str, retryable: bool, is_async: bool
) -> None:
    def raises() -> None:
        raise error

    register("raises", raises, is_async)
    found = failure(harness, "raises")
    assert (found.type, found.retryable) == (expected_type, retryable)
    assert message in found.message


def test_huge_text_is_cut(harness: Harness) -> None:
    def raises() -> None:
        raise ValueError("x" * 10_000_000)

    register("raises", raises, False)
    assert len(failure(harness, "raises").message) < MAX_TEXT + 100


def test_endless_recursion_is_a_failure(harness: Harness) -> None:
    def deeper() -> Any:
        return deeper()

    register("deeper", deeper, False)
    assert failure(harness, "deeper").type == "RecursionError"


def test_a_task_that_a_handler_left_behind_cannot_end_the_loop(harness: Harness) -> None:
    @handler("leaves")
    async def leaves(config: dict[str, Any], ctx: NodeContext) -> None:
        async def rude() -> None:
            sys.exit(1)

        ctx.log.debug("%s", asyncio.get_running_loop().create_task(rude()))
        await asyncio.sleep(0)

    @handler("yields")
    async def yields(config: dict[str, Any], ctx: NodeContext) -> int:
        await asyncio.sleep(0.01)
        return 1

    ids = harness.start("leaves") + harness.start("yields")
    assert harness.wait(ids)[1].output == "1"
    assert harness.output("yields") == 1


@pytest.mark.parametrize("name", list(FailureType))
def test_no_exception_passes_for_a_failure_of_drays_own(harness: Harness, name: str) -> None:
    def fails(config: dict[str, Any], ctx: NodeContext) -> None:
        raise type(name, (Exception,), {"__module__": "shop.orders"})("no")

    handler("fails")(fails)
    (result,) = harness.wait(harness.start("fails"))
    assert result.failure is not None
    assert result.failure.type == f"shop.orders.{name}"
    assert result.given_back is None
    assert result.outcome == "failed"


# Configs


@pytest.mark.parametrize("config", ["{", "[1]", "null", "1" * 5_000, "[" * 100_000, '{"a": NaN', ""])
def test_poison_config_is_a_config_failure(harness: Harness, config: str) -> None:
    handler("echo")(lambda config, ctx: config)
    found = failure(harness, "echo", config)
    assert (found.type, found.retryable) == ("config", False)
    assert "the stored config of this node" in found.message


def test_a_config_with_half_characters_and_nul_fails_only_where_it_comes_out(harness: Harness) -> None:
    handler("echo")(lambda config, ctx: config)
    assert "output.a contains" in failure(harness, "echo", {"a": "x\0\ud800"}).message


@pytest.mark.parametrize(
    ("node_type", "config", "message"),
    [
        ("condition", {"condition": "input.missing > 1"}, "input.missing is missing"),
        ("condition", {"condition": "1 +"}, "is not an expression"),
        ("set_variable", {"variable_name": "v", "variable_value": "{{ 1 / 0 }}"}, "divi"),
        ("set_variable", {"variable_name": "v", "variable_value": "{{ (( }}"}, "is not an expression"),
        ("set_variable", {"variable_name": ""}, "variable_name"),
        ("no_such_type", {}, "no handler for node type 'no_such_type'"),
    ],
)
def test_expressions_and_configs_that_cannot_work_are_not_tried_again(
    harness: Harness, node_type: str, config: dict[str, Any], message: str
) -> None:
    for _ in range(2):  # the second time from what was prepared
        found = failure(harness, node_type, config, input="{}")
        assert (found.type, found.retryable) == ("config", False)
        assert message in found.message


def test_texts_that_are_no_json_fail_their_own_node(harness: Harness) -> None:
    handler("echo")(lambda config, ctx: config)
    assert failure(harness, "echo", {"a": "{{ input }}"}, input="{").type == "JSONDecodeError"


def test_clean_keeps_short_text_as_it_is() -> None:
    assert clean("ü\n1") == "ü\n1"
    assert clean("x" * 20, 10) == "xxxxxxx..."


def register(node_type: str, give: Callable[[], Any], is_async: bool) -> None:
    if is_async:

        @handler(node_type)
        async def gives_async(config: dict[str, Any], ctx: NodeContext) -> Any:
            return give()

    else:

        @handler(node_type)
        def gives(config: dict[str, Any], ctx: NodeContext) -> Any:
            return give()
