"""Which large outcomes are loaded again. That none is missing, simulation.py asks of every crash in other tests."""

from __future__ import annotations

from typing import Any

from dray.cluster.driver.large import wanted
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Graph
from dray.store.records import Kind, StoredOutcome
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node


def compiled(nodes: list[Any], edges: list[Any]) -> Graph:
    return load(7, "w", 1, canonical(graph(nodes, edges), HANDLERS))


def at(key: str, kind: str = Kind.COMPLETED, attempt: int = 1) -> StoredOutcome:
    return StoredOutcome("e1", key, attempt, kind, None, None, None, large=True)


def keys(found: Graph, *stored: StoredOutcome) -> list[str]:
    return [each.node_key for each in wanted(found, stored)]


LINE = compiled(
    [node("a"), node("b", x="{{ nodes.a.output }}"), node("c", x="{{ nodes.a.output }}")], chain("a", "b", "c")
)


def test_what_a_node_that_has_not_ended_is_given() -> None:
    assert keys(LINE, at("a")) == ["a"]
    assert keys(LINE, at("a"), at("b")) == ["a"]
    assert keys(LINE, at("a"), at("b", "w")) == ["a"]


def test_not_what_everybody_has_had_and_not_what_nobody_names() -> None:
    assert keys(LINE, at("a"), at("b"), at("c")) == []
    assert keys(LINE, at("a"), at("b"), at("c", Kind.FAILED)) == ["c"], "a failure is always loaded"


def test_a_node_that_is_to_be_called_again_is_given_it_again() -> None:
    for kind in (Kind.RETRIED, Kind.RUNNER_LOST, Kind.STARTED, Kind.WAITS_FOR_NEWS):
        assert keys(LINE, at("a"), at("b"), at("c", kind)) == ["a", "c"]


def test_of_loops_all_but_their_output_which_is_made_anew() -> None:
    found = compiled(
        [
            node("a"),
            node("L", "foreach", array_expression="input.rows"),
            node("b", x="{{ nodes.a.output }}"),
            node("c"),
        ],
        [edge("a", "L"), edge("L", "b", "body"), edge("b", "L"), edge("L", "c", "done")],
    )
    stored = [at("a"), at("L[]"), at("L[0]/b"), at("L")]
    assert keys(found, *stored) == ["a", "L[]", "L[0]/b"]


def test_a_small_one_is_there_already() -> None:
    assert wanted(LINE, [at("a")._replace(outcome="1", large=False)]) == []
