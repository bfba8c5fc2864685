"""The handlers of loops, break and continue, try, catch and finally."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dray.actors.context import Branch
from dray.actors.errors import ConfigError, FailedAgain, NodeError
from dray.actors.messages import NodeFailure
from dray.actors.runner.answer import failure_of

Run = Callable[..., Any]
ERROR = {"type": "Boom", "message": "it broke", "node": "a"}


# loops


@pytest.mark.parametrize("node_type", ["for", "foreach", "loop"])
@pytest.mark.parametrize("items", [[1, "x"], "input.rows", "{{ input.rows }}"])
def test_items(run: Run, node_type: str, items: Any) -> None:
    assert run(node_type, {"array_expression": items}, input={"rows": [1, "x"]}) == {"items": [1, "x"]}
    assert run(node_type, {"items": items}, input={"rows": [1, "x"]}) == {"items": [1, "x"]}


@pytest.mark.parametrize("count", [3, "3", "input.n", "{{ input.n + 1.0 - 1.0 }}", "3.0"])
def test_repeat(run: Run, count: Any) -> None:
    assert run("repeat", {"repeat_count": count}, input={"n": 3}) == {"count": 3}


@pytest.mark.parametrize(
    ("condition", "label"),
    [("input.n < 3", "body"), ("input.n > 3", "done"), ("nodes.a.output != 'ready'", "body"), ("input.no", "done")],
)
def test_while_takes_body_or_done_and_a_missing_key_is_null(run: Run, condition: str, label: str) -> None:
    config = {"loop_type": "while", "condition_expression": condition}
    assert run("while", config, input={"n": 2}) == run("loop", config, input={"n": 2}) == Branch(label)


@pytest.mark.parametrize(
    ("node_type", "config", "message"),
    [
        ("for", {}, "a loop of type 'for' needs array_expression"),
        ("loop", {"loop_type": "repeat", "array_expression": [1]}, "needs repeat_count"),
        ("while", {"loop_type": "for"}, "needs condition_expression"),
        ("for", {"array_expression": "input"}, "gives no list but"),
        ("repeat", {"repeat_count": -1}, "a whole number, 0 or more"),
        ("repeat", {"repeat_count": "1.5"}, "a whole number, 0 or more"),
        ("repeat", {"repeat_count": "true"}, "a whole number, 0 or more"),
        ("for", {"array_expression": [1], "loop_variable": "input"}, "cannot be the name of an item"),
        ("for", {"array_expression": [1], "loop_variable": "a b"}, "cannot be the name of an item"),
        ("for", {"array_expression": [1], "max_iterations": 0}, "max_iterations"),
        ("foreach", {"array_expression": [1], "max_parallel": 0}, "max_parallel"),
        ("foreach", {"array_expression": [1], "on_error": "ignore"}, "on_error"),
        ("loop", {"loop_type": "until", "array_expression": [1]}, "loop_type"),
    ],
)
def test_what_a_loop_refuses(run: Run, node_type: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(node_type, config, input={})


@pytest.mark.parametrize("node_type", ["break", "continue", "try"])
def test_what_the_driver_does_has_a_config_all_the_same(run: Run, node_type: str) -> None:
    assert run(node_type, {"loop_label": "rows", "try_scope": "all"}) is None


# try, catch, finally


def test_catch_without_a_failure_passes(run: Run) -> None:
    assert run("catch", {"error_handler": "1/0"}) == Branch("passed", {"caught": False, "error": None, "result": None})


@pytest.mark.parametrize("wanted", ["", "Boom", "boom, Bang", ["Bang", "BOOM"], "Exception", "any", None])
def test_catch_takes_what_is_of_its_type(run: Run, wanted: Any) -> None:
    assert run("catch", {"error_type": wanted}, error=ERROR) == Branch(
        "caught", {"caught": True, "error": ERROR, "result": None}
    )


def test_catch_hands_on_what_is_of_another_type(run: Run) -> None:
    with pytest.raises(FailedAgain, match="it broke") as caught:
        run("catch", {"error_type": "Bang"}, error=ERROR)
    assert failure_of(caught.value) == NodeFailure("Boom", "it broke", False, node=ERROR["node"])


def test_finally_hands_on_what_led_to_it(run: Run) -> None:
    assert run("finally", {}) == {"result": None}
    with pytest.raises(FailedAgain) as caught:
        run("finally", {"finally_code": "result = 1"}, error=ERROR)
    assert failure_of(caught.value) == NodeFailure("Boom", "it broke", False, node=ERROR["node"])


def test_their_code_runs_as_in_a_code_node(run: Run) -> None:
    code = "import json, sys\nresult = json.load(sys.stdin)['error']"
    assert run("catch", {"error_handler": code}, error=ERROR).output["result"] == ERROR
    assert run("finally", {"finally_code": code}) == {"result": None}
    assert run("finally", {"finally_code": "result = '{{ x }}'"}) == {"result": "{{ x }}"}
    with pytest.raises(NodeError, match="ZeroDivisionError"):
        run("finally", {"finally_code": "1/0"}, error=ERROR)
