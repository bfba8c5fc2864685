"""The plan: which nodes run, whatever order their outcomes come in."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dray.cluster.execution.plan import COMPLETED, FAILED, PENDING, READY, SKIPPED, Plan
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Graph
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node


def compiled(nodes: list[Any], edges: list[Any]) -> Graph:
    return load(1, "w", 1, canonical(graph(nodes, edges), HANDLERS))


def condition(node_id: str) -> dict[str, Any]:
    return node(node_id, "condition", condition="input.x > 1")


def switch(node_id: str, **cases: str) -> dict[str, Any]:
    return node(node_id, "switch", switch_expression="input.x", cases=cases)


class Run:
    """A plan driven by ids. done: node id -> (fails, branch); nodes not in it complete without a branch."""

    def __init__(self, found: Graph, **done: tuple[bool, str | None]) -> None:
        self.graph, self.done = found, done
        self.plan = Plan(found.root)
        self.ran: list[str] = []

    def to_the_end(self, choose: random.Random | None = None) -> dict[str, int]:
        ready = self.plan.start()
        while ready:
            position = choose.randrange(len(ready)) if choose else 0
            found = ready.pop(position)
            node_id = self.graph.root.nodes[found].id
            self.ran.append(node_id)
            fails, branch = self.done.get(node_id, (False, None))
            ready += self.plan.failed(found) if fails else self.plan.completed(found, branch)
        assert self.plan.active == 0
        return {each.id: state for each, state in zip(self.graph.root.nodes, self.plan.state, strict=True)}


def test_a_chain_runs_in_its_order() -> None:
    run = Run(compiled([node(each) for each in "abc"], chain("a", "b", "c")))
    run.to_the_end()
    assert run.ran == ["a", "b", "c"]


def test_a_join_runs_once_when_all_its_edges_are_decided() -> None:
    found = compiled([node(each) for each in "abcd"], [*chain("a", "b", "d"), *chain("a", "c", "d")])
    plan = Plan(found.root)
    assert plan.start() == [0]
    assert plan.completed(0) == [1, 2]
    assert plan.completed(1) == []
    assert plan.completed(2) == [3]
    assert plan.completed(2) == [], "a second time changes nothing"
    assert plan.active == 1


def test_a_condition_takes_one_side_and_the_join_behind_both_still_runs() -> None:
    edges = [edge("c", "yes", "true"), edge("c", "no", "false"), edge("yes", "join"), edge("no", "join")]
    run = Run(compiled([condition("c"), *map(node, ("yes", "no", "join"))], edges), c=(False, "true"))
    states = run.to_the_end()
    assert run.ran == ["c", "yes", "join"]
    assert states["no"] == SKIPPED


def test_a_skipped_path_dies_to_its_end() -> None:
    edges = [edge("c", "a", "true"), *chain("a", "b", "d"), edge("c", "e", "false")]
    run = Run(compiled([condition("c"), *map(node, ("a", "b", "d", "e"))], edges), c=(False, "false"))
    states = run.to_the_end()
    assert run.ran == ["c", "e"]
    assert [states[each] for each in "abd"] == [SKIPPED] * 3


def test_a_branch_without_an_edge_ends_there() -> None:
    run = Run(compiled([condition("c"), node("a")], [edge("c", "a", "true")]), c=(False, "false"))
    assert run.to_the_end()["a"] == SKIPPED


def test_unlabelled_edges_of_a_condition_are_all_followed() -> None:
    run = Run(compiled([condition("c"), node("a"), node("b")], [edge("c", "a"), edge("c", "b")]), c=(False, "true"))
    run.to_the_end()
    assert run.ran == ["c", "a", "b"]


def test_switch_takes_the_edges_of_its_case() -> None:
    nodes = [switch("s", DE="german", AT="german"), node("g"), node("other")]
    found = compiled(nodes, [edge("s", "g", "german"), edge("s", "other", "default")])
    run = Run(found, s=(False, "AT"))
    run.to_the_end()
    assert run.ran == ["s", "g"]
    run = Run(found, s=(False, "default"))
    run.to_the_end()
    assert run.ran == ["s", "other"]


def test_an_error_edge_takes_over_when_its_node_fails() -> None:
    edges = [edge("a", "ok", "success"), edge("a", "also"), edge("a", "rescue", "failed"), *chain("rescue", "end")]
    found = compiled([node(each) for each in ("a", "ok", "also", "rescue", "end")], edges)
    failed = Run(found, a=(True, None))
    states = failed.to_the_end()
    assert failed.ran == ["a", "rescue", "end"]
    assert (states["ok"], states["also"]) == (SKIPPED, SKIPPED)
    assert failed.plan.catches(0)
    completed = Run(found)
    assert completed.to_the_end()["rescue"] == SKIPPED
    assert completed.ran == ["a", "ok", "also"]


def test_a_case_may_be_called_success_or_failed() -> None:
    nodes = [switch("s", success="1", failed="2"), node("a"), node("b")]
    found = compiled(nodes, [edge("s", "a", "success"), edge("s", "b", "failed")])
    for branch, ran in (("success", ["s", "a"]), ("failed", ["s", "b"]), ("default", ["s"])):
        run = Run(found, s=(False, branch))
        run.to_the_end()
        assert run.ran == ran


def test_a_failure_without_an_error_edge_is_not_caught() -> None:
    found = compiled([node("a"), node("b")], chain("a", "b"))
    plan = Plan(found.root)
    plan.start()
    assert not plan.catches(0)
    assert plan.failed(0) == []
    assert list(plan.state) == [FAILED, SKIPPED]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, dict[str, tuple[bool, str | None]]]:
    """A graph without cycles, and an outcome for each of its nodes."""
    count = draw(st.integers(1, 9))
    kinds = draw(st.lists(st.sampled_from(["plain", "condition"]), min_size=count, max_size=count))
    nodes = [condition(f"n{i}") if kind == "condition" else node(f"n{i}") for i, kind in enumerate(kinds)]
    labels = {"plain": [None, "success", "failed"], "condition": [None, "true", "false", "failed"]}
    edges = [
        edge(f"n{i}", f"n{j}", draw(st.sampled_from(labels[kinds[i]])))
        for i in range(count)
        for j in range(i + 1, count)
        if draw(st.booleans())
    ]
    done: dict[str, tuple[bool, str | None]] = {}
    for i, kind in enumerate(kinds):
        branch = draw(st.sampled_from(["true", "false"])) if kind == "condition" else None
        done[f"n{i}"] = (draw(st.booleans()), branch)
    return compiled(nodes, edges), done


@settings(max_examples=150, deadline=None)
@given(graphs(), st.randoms(use_true_random=False))
def test_any_order_of_outcomes_and_any_repetition_gives_the_same_state(
    drawn: tuple[Graph, dict[str, tuple[bool, str | None]]], choose: random.Random
) -> None:
    found, done = drawn
    first, second = Run(found, **done), Run(found, **done)
    expected = first.to_the_end()
    assert second.to_the_end(choose) == expected
    assert sorted(first.ran) == sorted(second.ran), "each node runs once, whatever the order"
    assert READY not in expected.values()
    # Stored outcomes are folded in any order at all, also before those of their predecessors, and twice.
    outcomes = first.ran * 2
    choose.shuffle(outcomes)
    plan = Plan(found.root)
    plan.start()
    for node_id in outcomes:
        fails, branch = done.get(node_id, (False, None))
        position = next(each.index for each in found.root.nodes if each.id == node_id)
        plan.failed(position) if fails else plan.completed(position, branch)
    assert list(plan.state) == [expected[each.id] for each in found.root.nodes]
    assert plan.active == 0
    # And a node that is not decided is never in the end state of a whole run.
    assert PENDING not in plan.state
    assert {found.root.nodes[i].id for i, state in enumerate(plan.state) if state in (COMPLETED, FAILED)} == set(
        first.ran
    )
