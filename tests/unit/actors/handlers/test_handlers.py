"""The handlers that only compute; http_request and code have files of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dray.actors.context import Branch, Wait
from dray.actors.errors import ConfigError, NodeError
from dray.actors.handlers.switch import label_key, label_keys

Run = Callable[..., Any]


# trigger


def test_trigger_gives_the_input(run: Run) -> None:
    assert run("trigger", {"trigger_type": "manual"}, input={"x": 1}) == {"x": 1}


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 9-17 * * mon-fri", "0,30 1 1 JAN *"])
def test_trigger_takes_cron(run: Run, cron: str) -> None:
    assert run("trigger", {"trigger_type": "schedule", "cron_expression": cron}, input=1) == 1


@pytest.mark.parametrize(
    "config",
    [
        {"trigger_type": "cronic"},
        {"trigger_type": "schedule"},
        {"trigger_type": "schedule", "cron_expression": "every day"},
        {"trigger_type": "webhook", "webhook_method": "BREW"},
    ],
)
def test_trigger_refuses(run: Run, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        run("trigger", config)


# condition, if, switch


@pytest.mark.parametrize(
    ("expression", "label"),
    [
        ("input.n > 1", "true"),
        ("{{ input.n }} === 2 and not (input.n !== 2)", "true"),
        ("input.empty", "false"),
        ("input.no", "false"),
        ("input.text", "true"),
        ("0", "false"),
    ],
)
@pytest.mark.parametrize("node_type", ["condition", "if"])
def test_condition(run: Run, node_type: str, expression: str, label: str) -> None:
    data = {"n": 2, "empty": [], "no": None, "text": "false"}
    result = run(node_type, {"expression": expression, "condition_type": "python"}, input=data)
    assert isinstance(result, Branch)
    assert result.label == label == result.output["branch"]
    assert result.output["condition_result"] is (label == "true")


def test_condition_may_be_a_literal(run: Run) -> None:
    assert run("condition", {"condition": True}).label == "true"


def test_condition_on_a_missing_key_is_an_error(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"input\.m is missing"):
        run("condition", {"condition": "input.m > 1"}, input={})


def test_a_path_of_jsonpath_that_leads_nowhere_is_false(run: Run) -> None:
    for path, label in (("$.r[0].b", "true"), ("r[0].b", "true"), ("$.r[1].b", "false"), ("$.gone.x", "false")):
        config = {"condition": path, "condition_type": "jsonpath"}
        assert run("condition", config, input={"r": [{"b": 1}]}).label == label


def test_condition_is_needed(run: Run) -> None:
    with pytest.raises(ConfigError, match="condition"):
        run("condition", {})


CASES = {"1": "one", "true": "yes", "null": "nothing", "de": "german", "at": "german", "default": "other"}


@pytest.mark.parametrize(
    ("value", "case"), [(1, "1"), (1.0, "1"), (True, "true"), (None, "null"), ("de", "de"), ("fr", "default")]
)
def test_switch(run: Run, value: object, case: str) -> None:
    result = run("switch", {"switch_expression": "input.v", "cases": CASES}, input={"v": value})
    assert result == Branch(case, {"value": value, "case": case, "output": CASES[case]})


def test_switch_without_default_case(run: Run) -> None:
    assert run("switch", {"switch_expression": "1", "cases": {}}).output == {
        "value": 1,
        "case": "default",
        "output": None,
    }


@pytest.mark.parametrize(
    ("label", "keys"),
    [
        ("1", ("1",)),
        ("one", ("1",)),
        ("german", ("de", "at")),
        ("other", ("default",)),
        ("x", ("x",)),
        ("default", ("default",)),
    ],
)
def test_switch_labels_are_keys(label: str, keys: tuple[str, ...]) -> None:
    assert label_keys({"cases": CASES}, label) == keys
    assert label_key({"cases": CASES}, label) == keys[0]


def test_switch_label_without_cases() -> None:
    assert label_key({}, "x") == "x"


# map, filter, reduce, split, merge


def test_map_filter_reduce(run: Run) -> None:
    data = {"rows": [{"n": 1}, {"n": 2.5}], "k": 2}
    by = {"input_array": "{{ input.rows }}"}
    assert run("map", by | {"map_expression": "item.n * input.k + index"}, input=data)["result"] == [2, 6.0]
    assert run("filter", by | {"filter_condition": "r => r.n > 2"}, input=data) == {"result": [{"n": 2.5}], "count": 1}
    fold = by | {"reduce_function": "(acc, row) => acc + row.n", "initial_value": 10}
    assert run("reduce", fold, input=data) == {"result": 13.5, "count": 2}


def test_reduce_without_initial_value_starts_with_the_first_item(run: Run) -> None:
    config = {"input_array": [1, 2, 3], "reduce_function": "acc * 10 + item"}
    assert run("reduce", config) == {"result": 123, "count": 3}
    assert run("reduce", config | {"input_array": []}) == {"result": None, "count": 0}


@pytest.mark.parametrize("output", [[1, 2], {"result": [1, 2], "count": 2}])
def test_list_of_the_only_predecessor(run: Run, output: object) -> None:
    assert run("map", {"map_expression": "item + 1"}, inputs={"a": output}) == {"result": [2, 3], "count": 2}


@pytest.mark.parametrize("inputs", [{}, {"a": [1], "b": [2]}, {"a": 1}, {"a": {"result": 1}}])
def test_no_list_says_what_to_set(run: Run, inputs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="set input_array"):
        run("map", {"map_expression": "item"}, inputs=inputs)


def test_long_lists_stop_when_cancelled(run: Run) -> None:
    with pytest.raises(NodeError, match="stopped"):
        run("map", {"map_expression": "item", "input_array": [1]}, cancel=True)


def test_split(run: Run) -> None:
    rows = [{"c": {"k": "x"}, "n": 1}, {"c": {"k": "y"}, "n": 2}, {"n": 3}]
    given = {"input_array": rows}
    by_key = run("split", given | {"split_config": {"key": "c.k"}})
    assert by_key == {"result": {"x": [rows[0]], "y": [rows[1]], "": [rows[2]]}, "count": 3}
    by_size = run("split", given | {"split_strategy": "by_size", "split_config": {"size": 2}})
    assert by_size == {"result": [rows[:2], rows[2:]], "count": 2}
    split = {"split_strategy": "by_condition", "split_config": {"condition": "item.n > 1"}}
    assert run("split", given | split)["result"] == {"true": rows[1:], "false": rows[:1]}


@pytest.mark.parametrize("strategy", ["by_key", "by_size", "by_condition"])
def test_split_needs_its_setting(run: Run, strategy: str) -> None:
    with pytest.raises(ConfigError, match=r"split_config: .*needs split_config"):
        run("split", {"input_array": [], "split_strategy": strategy})


def test_merge(run: Run) -> None:
    inputs = {"a": {"x": {"p": 1, "q": [1]}, "y": 1}, "b": {"x": {"q": [2]}, "z": None}}
    deep = {"x": {"p": 1, "q": [2]}, "y": 1, "z": None}
    assert run("merge", {}, inputs=inputs) == {"result": deep, "count": 2}
    shallow = run("merge", {"merge_strategy": "shallow"}, inputs=inputs)
    assert shallow["result"] == {"x": {"q": [2]}, "y": 1, "z": None}
    array = {"merge_strategy": "array", "input_sources": ["b", "a"]}
    assert run("merge", array, inputs=inputs)["result"] == [inputs["b"], inputs["a"]]
    assert inputs["a"] == {"x": {"p": 1, "q": [1]}, "y": 1}


def test_merge_names_what_does_not_fit(run: Run) -> None:
    with pytest.raises(ConfigError, match="node 'a' gave"):
        run("merge", {}, inputs={"a": [1]})
    with pytest.raises(ConfigError, match="correct the ids"):
        run("merge", {"input_sources": ["q"]}, inputs={"a": {}})


# variables, delay


def test_variables(run: Run) -> None:
    config = {"variable_name": "v", "variable_value": "{{ input.n }}"}
    assert run("set_variable", config, input={"n": [1]}) == {"variable_name": "v", "value": [1], "scope": "workflow"}
    get = {"variable_name": "v", "default_value": 7}
    assert run("get_variable", get, vars={"v": None}) == {"variable_name": "v", "value": None, "found": True}
    assert run("get_variable", get) == {"variable_name": "v", "value": 7, "found": False}
    with pytest.raises(ConfigError, match="is no scope"):
        run("set_variable", config | {"variable_scope": "loop"})


def test_delay(run: Run) -> None:
    done = {"delay_type": "seconds", "completed": True}
    assert run("delay", {"delay_seconds": "{{ input.s }}"}, input={"s": 0.5}) == Wait(0.5, done)
    assert run("wait", {}) == Wait(1, done)
    for seconds in (-1, "NaN", 1e12):
        with pytest.raises(ConfigError, match="delay_seconds"):
            run("delay", {"delay_seconds": seconds})
