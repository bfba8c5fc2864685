"""What two versions of a workflow differ in."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.diff import diff, lines
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node


def stored(nodes: list[Any], edges: list[Any], **rest: Any) -> dict[str, Any]:
    return canonical(graph(nodes, edges, **rest), HANDLERS)


OLD = stored([node("a", x=1, y={"z": 2}), node("b"), node("gone")], chain("a", "b", "gone"))


def test_the_same_graph_has_no_changes() -> None:
    assert diff(OLD, OLD) == []


def test_nodes_keys_edges_and_what_stands_beside_them() -> None:
    new = stored(
        [node("a", x=2, y={"z": 2, "w": 3}), node("b"), node("new")], [*chain("a", "b"), edge("b", "new")], timeout=9
    )
    assert list(lines(diff(OLD, new))) == [
        "~ graph as a whole",
        "    timeout: nothing -> 9.0",
        "~ node a",
        "    config.x: 1 -> 2",
        "    config.y.w: nothing -> 3",
        "- node gone",
        "+ node new",
        "    type: nothing -> 'plain'",
        "- edge b -> gone",
        "+ edge b -> new",
    ]


def test_a_label_is_another_edge() -> None:
    nodes = [node("c", "condition", condition="true"), node("b")]
    changes = diff(stored(nodes, [edge("c", "b", "true")]), stored(nodes, [edge("c", "b", "false")]))
    assert list(lines(changes)) == ["- edge c -> b (true)", "+ edge c -> b (false)"]


def test_true_is_not_one() -> None:
    assert diff(stored([node("a", x=1)], []), stored([node("a", x=True)], [])) != []


CONFIGS = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2))


@given(CONFIGS, CONFIGS)
def test_no_changes_means_the_same(first: dict[str, int], second: dict[str, int]) -> None:
    changes = diff(stored([node("a", **first)], []), stored([node("a", **second)], []))
    assert (changes == []) == (first == second)
