"""Four formats in, one canonical form out, one Graph in memory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import pytest

from dray.cluster.errors import GraphInvalid
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Graph, Read
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node, refused

LIST = """{"nodes": [
   {"node_id": "trigger-1700000000001", "node_type": "trigger", "position_x": 10, "position_y": 20, "config": {"trigger_type": "manual"}},
   {"node_id": "condition-1700000000002", "node_type": "condition", "position_x": 10, "position_y": 140, "config": {"expression": "input.amount > 10"}}],
 "edges": [{"from": "trigger-1700000000001", "to": "condition-1700000000002"}],
 "entry_node_id": "trigger-1700000000001"}"""  # noqa: E501
DICT = """{"nodes": {"start": {"node_type": "trigger", "next": "w"}, "w": {"node_type": "delay", "delay_seconds": 1,
 "next": ["end"]}, "end": {"node_type": "delay", "config": {"delay_seconds": 0}}}}"""
DOCS = """{"nodes": [{"id": "t", "type": "trigger"}, {"id": "c", "type": "condition", "config":
 {"condition": "{{t.x}} > 1", "true_path": "a", "false_path": "b"}}],
 "edges": [{"source": "t", "target": "c"}, {"source": "c", "target": "a", "condition": "true"}]}"""


def compiled(source: Any) -> Graph:
    return load(7, "orders", 3, canonical(source, HANDLERS))


def slots(reads: Iterable[Read]) -> tuple[int, ...]:
    assert all(read.up == 0 for read in reads)
    return tuple(read.slot for read in reads)


def shape(stored: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(each["from"], each["to"], each["label"]) for each in stored["edges"]]


def test_the_list_that_the_canvas_saves() -> None:
    stored = canonical(json.loads(LIST), HANDLERS)
    assert stored["format"] == 1
    assert stored["entry"] == "trigger-1700000000001"
    assert [each["type"] for each in stored["nodes"]] == ["trigger", "condition"]
    assert stored["nodes"][0]["position_x"] == 10
    assert stored["nodes"][0]["config"] == {"trigger_type": "manual"}
    assert shape(stored) == [("trigger-1700000000001", "condition-1700000000002", None)]
    assert stored["warnings"] == []


def test_the_dict_with_next_and_inline_config() -> None:
    stored = canonical(json.loads(DICT), HANDLERS)
    assert [each["id"] for each in stored["nodes"]] == ["start", "w", "end"]
    assert [each["config"] for each in stored["nodes"]] == [{}, {"delay_seconds": 1}, {"delay_seconds": 0}]
    assert shape(stored) == [("start", "w", None), ("w", "end", None)]
    assert stored["entry"] is None


def test_in_the_dict_a_list_of_edges_wins_over_next_and_the_rest_is_told() -> None:
    source = {**json.loads(DICT), "edges": [{"from": "start", "to": "w"}, {"from": "start", "to": "end"}]}
    stored = canonical(source, HANDLERS)
    assert shape(stored) == [("start", "w", None), ("start", "end", None)]
    assert stored["warnings"] == [
        "node 'w': next 'end' is not read, because the graph has a list of edges: add the edge to it"
    ]


def test_the_docs_form_as_printed_lacks_a_node() -> None:
    assert "edge 'c' -> 'a': there is no node 'a': add the node or remove the edge" in refused(json.loads(DOCS))


def test_the_docs_form_with_its_missing_nodes() -> None:
    source = json.loads(DOCS)
    source["nodes"] += [node("a"), node("b")]
    source["edges"].append({"source": "c", "target": "b", "condition": False})
    stored = canonical(source, HANDLERS)
    assert shape(stored) == [("t", "c", None), ("c", "a", "true"), ("c", "b", "false")]


def test_an_expression_in_doubt_is_told_and_told_again_of_the_stored_form() -> None:
    source = {"nodes": [{"id": "c", "type": "condition", "config": {"condition": "item.n > 1"}}]}
    stored = canonical(source, HANDLERS)
    warning = "node 'c': config.condition: 'item' is taken as input.item, for nothing else is called so here"
    assert stored["nodes"][0]["config"] == {"condition": "input.item.n > 1"}
    assert stored["warnings"] == [warning]
    assert canonical(stored, HANDLERS) == stored


def test_react_flow_with_its_nulls() -> None:
    nodes = [
        {"id": "t", "type": "trigger", "position": {"x": 1, "y": 2}, "data": {"label": "Start", "config": {"x": 1}}},
        {
            "id": "c",
            "type": "condition",
            "position": {"x": 1, "y": 9},
            "selected": False,
            "data": {"label": "", "config": {"condition": "input.x"}},
        },
        {"id": "d", "type": "delay", "position": None, "data": {"label": None, "config": {"delay_seconds": 2}}},
    ]
    drawn = {"id": "e1", "type": "smoothstep", "animated": True, "targetHandle": None, "label": None, "branch": None}
    edges = [
        {**drawn, "source": "t", "target": "c", "sourceHandle": None},
        {**drawn, "source": "c", "target": "d", "sourceHandle": "true"},
    ]
    stored = canonical({"nodes": nodes, "edges": edges, "viewport": {"x": 0, "zoom": 1}}, HANDLERS)
    assert [each.get("name") for each in stored["nodes"]] == ["Start", None, None]
    assert [each["config"] for each in stored["nodes"]] == [{"x": 1}, {"condition": "input.x"}, {"delay_seconds": 2}]
    assert stored["nodes"][1]["position"] == {"x": 1, "y": 9}
    assert shape(stored) == [("t", "c", None), ("c", "d", "true")]
    assert stored["warnings"] == []


@pytest.mark.parametrize("text", [LIST, DICT], ids=["list", "dict"])
def test_the_canonical_form_comes_out_as_it_went_in(text: str) -> None:
    stored = canonical(json.loads(text), HANDLERS)
    assert canonical(stored, HANDLERS) == stored
    assert canonical(json.loads(json.dumps(stored)), HANDLERS) == stored


def test_the_source_is_not_changed() -> None:
    source = json.loads(DICT)
    canonical(source, HANDLERS)
    assert source == json.loads(DICT)


def test_options_of_a_node() -> None:
    options = {"max_retries": 2, "timeout": 5, "at_most_once": True, "name": "Pay", "parallel_wait_mode": "any"}
    stored = canonical(graph([{**node("a", "http_request", url="https://a.test", timeout=9), **options}]), HANDLERS)
    assert stored["nodes"][0] == {
        "id": "a",
        "type": "http_request",
        "config": {"url": "https://a.test", "timeout": 9},
        **options,
        "needs": {"input": False, "nodes": [], "vars": [], "inputs": []},
    }
    only = load(7, "orders", 3, stored).root.nodes[0]
    assert (only.max_retries, only.timeout, only.at_most_once) == (2, 5.0, True)


def test_options_under_their_other_names() -> None:
    source = graph([{**node("a"), "retry": {"max_retries": 0}, "timeout_seconds": "2.5"}], timeout_seconds=60)
    loaded = compiled(source)
    assert (loaded.root.nodes[0].max_retries, loaded.root.nodes[0].timeout, loaded.timeout) == (0, 2.5, 60.0)


def test_options_not_given_are_left_to_the_settings() -> None:
    loaded = compiled(graph([node("a")]))
    assert (loaded.root.nodes[0].max_retries, loaded.root.nodes[0].timeout, loaded.root.nodes[0].at_most_once) == (
        None,
        None,
        False,
    )
    assert loaded.timeout is None


def test_inline_a_key_of_the_handler_belongs_to_the_handler() -> None:
    source = {
        "nodes": {
            "h": {"type": "http_request", "url": "https://a.test", "timeout": 9},
            "p": {"type": "plain", "timeout": 9},
        }
    }
    h, p = canonical(source, HANDLERS)["nodes"]
    assert h["config"] == {"url": "https://a.test", "timeout": 9} and "timeout" not in h
    assert p["config"] == {} and p["timeout"] == 9


def test_numbers_as_ids() -> None:
    source = {"nodes": [{"id": 1, "type": "plain"}, {"id": 2, "type": "plain"}], "edges": [{"from": 1, "to": 2}]}
    assert shape(canonical(source, HANDLERS)) == [("1", "2", None)]


def test_load_gives_what_the_plan_needs() -> None:
    source = graph(
        [
            node("t", "trigger"),
            node("c", "condition", expression="{{ input.x }} === 1"),
            node("a", text="{{ nodes.t.output.x }} {{ nodes.c.output }}"),
            node("m", "merge"),
        ],
        [edge("t", "c"), edge("c", "a", True), edge("c", "m", "false"), edge("a", "m")],
    )
    loaded = compiled(source)
    t, _, a, m = loaded.root.nodes
    assert (loaded.workflow_id, loaded.name, loaded.version) == (7, "orders", 3)
    assert a.spec == ("7:a", "plain", '{"text":"{{ nodes.t.output.x }} {{ nodes.c.output }}"}')
    assert [each.selects for each in loaded.root.nodes] == [False, True, False, False]
    assert [each.needs_input for each in loaded.root.nodes] == [False, True, False, False]
    assert [slots(each.needs_nodes) for each in loaded.root.nodes] == [(), (), (0, 1), ()]
    assert slots(m.needs_inputs) == (1, 2) and t.needs_inputs == ()
    assert [each.label for each in loaded.root.edges] == [None, "true", "false", None]
    assert loaded.root.out == ((0,), (1, 2), (3,), ())
    assert loaded.root.indegree == (0, 1, 1, 2)
    assert loaded.root.starts == (0,)
    assert loaded.root.consumers == (1, 2, 1, 0)


def test_without_an_entry_every_root_starts_and_with_one_only_the_entry() -> None:
    nodes = [node("a"), node("b"), node("c")]
    assert compiled(graph(nodes, [edge("a", "c"), edge("b", "c")])).root.starts == (0, 1)
    assert compiled(graph(nodes, chain("b", "a", "c"), entry_node_id="b")).root.starts == (1,)


def test_variables_are_those_set_before_in_topological_order() -> None:
    nodes = [
        node("read", "get_variable", variable_name="v"),
        node("text", text="{{ vars.x }}"),
        node("second", "set_variable", variable_name="v"),
        node("beside", "set_variable", variable_name="v"),
        node("first", "set_variable", variable_name="w"),
    ]
    edges = [*chain("first", "second", "read"), *chain("second", "text"), *chain("first", "beside")]
    stored = canonical(graph(nodes, edges), HANDLERS)
    assert stored["nodes"][0]["needs"]["vars"] == ["first", "second"]
    assert stored["nodes"][1]["needs"]["vars"] == ["first", "second"]
    assert load(7, "orders", 3, stored).root.consumers == (0, 0, 2, 0, 2)


def test_a_name_that_is_computed_may_be_any_node_that_ran_before() -> None:
    nodes = [node("a"), node("b"), node("c", text="{{ nodes[execution.id] }}"), node("d")]
    stored = canonical(graph(nodes, chain("a", "b", "c", "d")), HANDLERS)
    assert stored["nodes"][2]["needs"]["nodes"] == ["a", "b"]


def test_a_graph_cannot_be_changed() -> None:
    loaded = compiled(graph([node("a")]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.name = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.root.nodes[0].id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "stored", [None, [], {}, {"format": 2}, {"format": 1}, {"format": 1, "nodes": [{}], "edges": []}]
)
def test_a_damaged_row_is_an_error_that_names_the_workflow(stored: dict[str, Any]) -> None:
    with pytest.raises(GraphInvalid, match="workflow 'orders' version 3"):
        load(7, "orders", 3, stored)


def test_ten_thousand_nodes_side_by_side() -> None:
    names = [f"n{index}" for index in range(10_000)]
    nodes = [node("t", "trigger"), *(node(name, text="{{ nodes.t.output }}") for name in names), node("m", "merge")]
    loaded = compiled(graph(nodes, [each for name in names for each in (edge("t", name), edge(name, "m"))]))
    assert len(loaded.root.nodes[-1].needs_inputs) == 10_000
    assert loaded.root.consumers[0] == 10_000


def test_a_long_chain_meets_no_recursion_limit() -> None:
    names = [f"n{index}" for index in range(3_000)]
    nodes = [
        node(name, text=f"{{{{ nodes.{names[at - 2]}.output }}}}" if at > 1 else "") for at, name in enumerate(names)
    ]
    loaded = compiled(graph(nodes, chain(*names)))
    assert loaded.root.starts == (0,)
    assert slots(loaded.root.nodes[-1].needs_nodes) == (2_997,)
    assert "n0 -> n1 -> n2" in refused(graph(nodes, chain(*names, "n0")))[0]
