"""A variable is there for the nodes after the one that sets it. Who reads one that nobody before it sets is told."""

from __future__ import annotations

from typing import Any

import pytest

from dray.cluster.graph.canonical import canonical
from tests.unit.cluster.graphs import HANDLERS, edge, graph, node

DELAY = {"delay_type": "until_condition", "condition_expression": "has(vars.ready)"}


def warnings(*parts: Any) -> list[str]:

    found: list[str] = canonical(graph([p for p in parts if "id" in p], [p for p in parts if "from" in p]), HANDLERS)[
        "warnings"
    ]
    return found


def sets(node_id: str, name: str) -> dict[str, Any]:
    return node(node_id, "set_variable", variable_name=name, variable_value=1)


READERS = [
    ("delay", DELAY),
    ("condition", {"condition": "vars.ready == 1"}),
    ("http_request", {"url": "https://example.com/{{ vars.ready }}"}),
    ("filter", {"input_array": "[1]", "filter_condition": "item > vars['ready']"}),
    ("get_variable", {"variable_name": "ready"}),
]


@pytest.mark.parametrize(("node_type", "config"), READERS)
def test_what_a_branch_beside_it_sets(node_type: str, config: dict[str, Any]) -> None:
    reader = node("reader", node_type, **config)
    beside = [node("start", "trigger"), reader, sets("set", "ready"), edge("start", "reader"), edge("start", "set")]
    text = "config reads the variable 'ready', which is not set before it: draw a way from 'set' to it"
    assert f"node 'reader': {text}" in warnings(*beside)
    assert not [each for each in warnings(*beside, edge("set", "reader")) if "variable" in each]


@pytest.mark.parametrize(("node_type", "config"), READERS)
def test_what_nobody_sets(node_type: str, config: dict[str, Any]) -> None:
    reader = node("reader", node_type, **config)
    told = warnings(sets("set", "redy"), reader, edge("set", "reader"))
    text = "config reads the variable 'ready', which is set by no node (did you mean 'redy'?)"
    assert f"node 'reader': {text}" in told
    assert "node 'reader': config reads the variable 'ready', which is set by no node" in warnings(reader)


def test_a_computed_name_may_be_any() -> None:
    reader = node("reader", "condition", condition="vars.ready == 1")
    assert not warnings(sets("set", "{{ input.name }}"), reader, edge("set", "reader"))
    computed = node("reader", "get_variable", variable_name="{{ input.name }}")
    assert not warnings(computed)


def test_an_earlier_turn_sets_it() -> None:
    loop = node("loop", "repeat", repeat_count=3)
    first = node("first", "condition", condition="has(vars.ready)")
    round_ = [edge("loop", "first", "body"), edge("first", "set"), edge("set", "loop")]
    told = warnings(loop, first, sets("set", "ready"), *round_)
    assert not [each for each in told if "variable" in each]


def test_an_earlier_item_does_not() -> None:
    loop = node("loop", "foreach", array_expression="[1, 2]")
    first = node("first", "condition", condition="has(vars.ready)")
    round_ = [edge("loop", "first", "body"), edge("first", "set"), edge("set", "loop")]
    told = warnings(loop, first, sets("set", "ready"), *round_)
    assert (
        "node 'first': config reads the variable 'ready', which is not set before it: draw a way from 'set' to it"
        in told
    )


def test_the_condition_of_a_while_sees_its_body() -> None:
    loop = node("loop", "while", condition_expression="!has(vars.ready)")
    told = warnings(loop, sets("set", "ready"), edge("loop", "set", "body"), edge("set", "loop"))
    assert not [each for each in told if "variable" in each]
