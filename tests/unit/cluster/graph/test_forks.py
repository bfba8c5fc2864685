"""The options of a fork as they are stored."""

from __future__ import annotations

from typing import Any

import pytest

from dray.cluster.graph.canonical import canonical
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node, refused

WAYS = [*chain("fork", "a", "join"), *chain("fork", "b", "c", "join"), *chain("fork", "d", "join")]


def fork(**options: Any) -> dict[str, Any]:
    return {**node("fork"), **options}


def source(
    first: dict[str, Any], ways: list[dict[str, Any]] = WAYS, join: str = "merge", **config: Any
) -> dict[str, Any]:
    others = dict.fromkeys(each[end] for each in ways for end in ("from", "to"))
    nodes = [
        first,
        *(
            node(each, join if each == "join" else "plain", **(config if each == "join" else {}))
            for each in others
            if each != "fork"
        ),
    ]
    return graph(nodes, ways)


def stored(given: dict[str, Any]) -> dict[str, Any]:
    found = canonical(given, HANDLERS)
    assert canonical(found, HANDLERS) == found
    return found


ANY = {
    "fork": "fork",
    "joins": [{"join": "join", "branches": [["a"], ["c"], ["d"]]}],
    "wait": 1,
    "nodes": ["a", "b", "d", "c"],
}


@pytest.mark.parametrize("options", [{"parallel_wait_mode": "any"}, {"config": {"parallel_wait_mode": "any"}}])
def test_any_at_the_node_or_in_its_config(options: dict[str, Any]) -> None:
    assert stored(source(fork(**options)))["forks"] == [ANY]


@pytest.mark.parametrize("count", [2, "2", 2.0])
def test_n_of_m(count: Any) -> None:
    options = {"parallel_wait_mode": "n_of_m", "parallel_wait_n": count}
    assert stored(source(fork(**options)))["forks"] == [{**ANY, "wait": 2}]


def test_a_branch_is_one_by_however_many_edges_it_arrives() -> None:
    ways = [
        *chain("fork", "a", "b", "join"),
        *chain("a", "c", "join"),
        *chain("fork", "d", "join"),
        edge("fork", "join"),
    ]
    found = stored(source(fork(parallel_wait_mode="n_of_m", parallel_wait_n=2), ways))
    assert found["forks"][0]["joins"] == [{"join": "join", "branches": [["b", "c"], ["d"], ["fork"]]}]
    assert found["warnings"] == []


def test_all_needs_nothing() -> None:
    found = stored(source(fork(parallel_wait_mode="all", parallel=True, sequential=False, parallel_wait_n=1)))
    assert "forks" not in found and "added" not in found and found["warnings"] == []


def test_a_branch_may_hold_branches_loops_and_cycles() -> None:
    nodes = [fork(parallel_wait_mode="any"), node("each", "foreach", array_expression="[1]"), node("join", "merge")]
    nodes += [node("c", "condition", condition="input.x"), *map(node, ["work", "ask", "x", "y"])]
    ways = [*chain("fork", "each", "work", "each"), *chain("each", "join"), *chain("fork", "ask", "c")]
    ways += [edge("c", "ask", False), edge("c", "x", True), *chain("x", "join"), *chain("fork", "y", "join")]
    (found,) = stored(graph(nodes, ways))["forks"]
    assert found["joins"] == [{"join": "join", "branches": [["each"], ["x"], ["y"]]}]
    assert set(found["nodes"]) == {"each", "ask", "x", "y"}


def test_outer_forks_come_before_inner_ones() -> None:
    nodes = [fork(parallel_wait_mode="any"), {**node("inner"), "parallel_wait_mode": "any"}]
    nodes += [node("m", "merge"), node("join", "merge"), *map(node, "abc")]
    ways = [*chain("fork", "inner", "a", "m", "join"), *chain("inner", "b", "m"), *chain("fork", "c", "join")]
    found = stored(graph(nodes, ways))["forks"]
    assert [each["fork"] for each in found] == ["fork", "inner"]
    assert [each["joins"][0]["join"] for each in found] == ["join", "m"]
    assert set(found[0]["nodes"]) == {"inner", "a", "b", "m", "c"}


def test_sequential_branches_follow_each_other() -> None:
    for options in ({"sequential": True}, {"parallel": False}, {"config": {"sequential": "true"}}):
        assert stored(source(fork(**options)))["added"] == [
            {"from": "a", "to": "b", "label": None, "role": "order"},
            {"from": "c", "to": "d", "label": None, "role": "order"},
        ]


def test_a_later_branch_may_read_an_earlier_one_if_they_are_sequential() -> None:
    given = source(fork(sequential=True))
    given["nodes"][3]["config"] = {"x": "{{ nodes.a.output }}"}
    assert stored(given)["nodes"][3]["needs"]["nodes"] == ["a"]
    assert refused({**given, "nodes": [fork(), *given["nodes"][1:]]})


@pytest.mark.parametrize(
    ("aggregation", "strategy"), [("merge", "deep"), ("array", "array"), ("first", "first"), ("last", "last")]
)
def test_a_merge_takes_the_aggregation(aggregation: str, strategy: str) -> None:
    def merged(given: dict[str, Any]) -> dict[str, Any]:
        return next(each["config"] for each in stored(given)["nodes"] if each["id"] == "join")

    assert merged(source(fork(parallel_aggregation=aggregation))) == {"merge_strategy": strategy}
    assert merged(source(fork(parallel_aggregation=aggregation), merge_strategy="shallow")) == {
        "merge_strategy": "shallow"
    }


def test_the_aggregation_stands_at_the_fork_too() -> None:
    (found,) = stored(source(fork(parallel_wait_mode="any", parallel_aggregation="first")))["forks"]
    assert found["aggregation"] == "first"


@pytest.mark.parametrize(
    ("given", "warning"),
    [
        (
            source(fork(parallel_wait_mode="any"), [*chain("fork", "a"), *chain("fork", "b")]),
            "node 'fork': parallel_wait_mode 'any' means nothing here: its branches never meet",
        ),
        (
            source(
                fork(parallel_wait_mode="n_of_m", parallel_wait_n=2),
                [*chain("fork", "a", "join", "end"), *chain("fork", "b", "join"), *chain("fork", "c", "end")][:4],
            ),
            "node 'fork': parallel_wait_mode 'n_of_m' means nothing here: its branches never meet",
        ),
        (
            source(fork(parallel_wait_mode="any"), chain("fork", "a")),
            "node 'fork': parallel_wait_mode 'any' means nothing here: it has one branch",
        ),
        (
            source(fork(parallel_aggregation="array"), join="plain"),
            "node 'fork': parallel_aggregation 'array' means nothing here: its branches do not meet at a merge node",
        ),
        (
            source(
                fork(parallel_wait_mode="n_of_m", parallel_wait_n=2),
                [*chain("fork", "a", "b", "join"), *chain("a", "c", "join"), *chain("fork", "d")],
            ),
            "node 'fork': parallel_wait_mode 'n_of_m' means nothing here: its branches never meet",
        ),
    ],
)
def test_what_is_told(given: dict[str, Any], warning: str) -> None:
    assert stored(given)["warnings"] == [warning]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"parallel_wait_mode": "n_of_m", "parallel_wait_n": 4},
            "parallel_wait_n: waits for 4 of its branches, but has 3 branches: wait for fewer",
        ),
        (
            {"parallel_wait_mode": "n_of_m", "parallel_wait_n": 0},
            "parallel_wait_n: must be a whole number, 1 or more, for parallel_wait_mode 'n_of_m'",
        ),
        (
            {"parallel_wait_mode": "n_of_m"},
            "parallel_wait_n: must be a whole number, 1 or more, for parallel_wait_mode 'n_of_m'",
        ),
        ({"parallel_wait_mode": "some"}, "parallel_wait_mode: 'some' is none of 'all', 'any', 'n_of_m'"),
        (
            {"parallel_aggregation": "sum"},
            "parallel_aggregation: 'sum' is none of 'merge', 'array', 'first', 'last'",
        ),
    ],
)
def test_what_is_refused(options: dict[str, Any], line: str) -> None:
    assert refused(source(fork(**options))) == [f"node 'fork': {line}"]


def test_options_of_a_loop_are_told() -> None:
    nodes = [{**node("each", "foreach", array_expression="[1]"), "sequential": True}, node("work")]
    assert stored(graph(nodes, chain("each", "work", "each")))["warnings"] == [
        "node 'each': sequential: not read, a loop is no fork (foreach has max_parallel)"
    ]
