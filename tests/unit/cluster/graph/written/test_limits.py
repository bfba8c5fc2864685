"""Limits beside the nodes: how they are written, what is stored, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.errors import GraphInvalid
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.written.limits import path_of

NODES = {"nodes": [{"id": "a", "type": "trigger"}], "edges": []}


def stored(**given: Any) -> Any:
    found = canonical({**NODES, **given}, load_handlers(()))
    assert canonical(found, load_handlers(())) == found, "the canonical form comes out as it went in"
    return found.get("limits")


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("input.customer.id", ["customer", "id"]),
        ("{{ input.customer }}", ["customer"]),
        ("{{input.customer-id}}", ["customer-id"]),
        ("${input.a}", ["a"]),
        (" input.items[0].id ", ["items", "0", "id"]),
        ("input.items.0", ["items", "0"]),
        ('input["a b"].c', ["a b", "c"]),
        ("input['a.b']", ["a.b"]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_a_key_is_a_path_into_the_input(text: Any, steps: list[str]) -> None:
    assert path_of(text) == steps


@pytest.mark.parametrize(
    "text",
    ["input", "", "customer.id", "input.a + 1", "{{ input.a }}-{{ input.b }}", "nodes.a.output", "input..a", "input.a.",
     "inputs.a", "input.a b", "input.f()", 7, None, [], [1], [""], {"a": 1}],
)  # fmt: skip
def test_what_is_no_path_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="path into the input"):
        path_of(text)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, None),
        ({"concurrency": None}, None),
        ({"concurrency": 10}, {"concurrency": 10}),
        ({"concurrency": {"limit": 10}}, {"concurrency": 10}),
        ({"concurrency": {"key": "input.a"}}, {"key": ["a"], "key_limit": 1}),
        ({"concurrency": {"key_limit": 2}}, {"key_limit": 2}),
        (
            {"concurrency": {"limit": 9, "key": "{{ input.a.b }}", "key_limit": 3}},
            {"concurrency": 9, "key": ["a", "b"], "key_limit": 3},
        ),
        ({"rate": {"limit": 5}}, {"rate": {"limit": 5, "per": 1.0}}),
        (
            {"rate": {"limit": 5, "per": 60, "key": "input.a"}, "tenant": "input.org"},
            {"rate": {"limit": 5, "per": 60.0, "key": ["a"]}, "tenant": ["org"]},
        ),
    ],
)
def test_limits_are_stored_in_one_form(given: dict[str, Any], found: Any) -> None:
    assert stored(**given) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"concurrency": 0}, "concurrency.limit"),
        ({"concurrency": True}, "true or false"),
        ({"concurrency": "many"}, "concurrency.limit"),
        ({"concurrency": {}}, "limits nothing"),
        ({"concurrency": {"limit": 1, "keys": "x"}}, "concurrency.keys"),
        ({"concurrency": {"key": "input.a + 1"}}, "path into the input"),
        ({"rate": {"per": 1}}, "rate.limit: is missing"),
        ({"rate": {"limit": 1, "per": 0}}, "rate.per"),
        ({"rate": {"limit": 1, "per": 1e9}}, "rate.per"),
        ({"rate": 5}, "rate"),
        ({"tenant": "acme"}, "tenant: must be a path"),
    ],
)
def test_limits_that_mean_nothing_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphInvalid, match=message):
        stored(**given)
