"""What is refused, what is only told, and in which words. The words are tested: they are all that the author gets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import field_validator, model_validator

from dray.actors.registry import HandlerSpec
from dray.cluster.errors import GraphInvalid
from dray.cluster.graph import needs
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.written import json_text as graph_json
from dray.cluster.graph.written import source as graph_source
from tests.unit.cluster.graphs import HANDLERS, Open, chain, edge, graph, node, refused, spec


def with_model(model: type[Open]) -> Mapping[str, HandlerSpec]:
    return {**HANDLERS, "plain": spec("plain", model)}


def warnings(source: Any) -> list[str]:
    found: list[str] = canonical(source, HANDLERS)["warnings"]
    return found


def labels(source: Any) -> list[str | None]:
    return [each["label"] for each in canonical(source, HANDLERS)["edges"]]


A = node("a")
LONG = "x" * 256


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (None, 'graph: must be an object, not null: give an object with "nodes" and "edges"'),
        ([], 'graph: must be an object, not a list: give an object with "nodes" and "edges"'),
        ('{"nodes": []}', "graph: must be an object, not text: parse the text first (json.loads)"),
        ({"format": 2}, "graph: has format 2, this Dray knows format 1: upgrade Dray"),
        ({}, "nodes: missing: give a list of nodes, or an object of id -> node"),
        ({"graph_config": {"nodes": [A]}}, "nodes: missing: pass what is under 'graph_config'"),
        ({"nodes": "a"}, "nodes: must not be text: give a list of nodes, or an object of id -> node"),
        ({"nodes": []}, "nodes: the graph is empty: give it at least one node"),
        ({"nodes": {}}, "nodes: the graph is empty: give it at least one node"),
        ({"nodes": ["a"]}, "nodes[0]: a node must be an object, not text"),
        ({"nodes": [{"type": "plain"}]}, "nodes[0]: id (or node_id): is missing: add it"),
        ({"nodes": [{"id": "a"}]}, "node 'a': type (or node_type): is missing: add it"),
        ({"nodes": [{"id": "a", "type": 1.5}]}, "node 'a': type: must be text: put it in quotes"),
        (
            {"nodes": [{"id": " ", "type": "plain"}]},
            "nodes[0]: id: is empty: give every node an id and a type of its own",
        ),
        (
            {"nodes": [{**A, "id": "a\x1b[2J"}]},
            "node 'a\\x1b[2J': id: has a control character in it: take it out",
        ),
        (
            {"nodes": [{**A, "type": "plain\n"}]},
            "node 'a': type: has a control character in it: take it out",
        ),
        ({"nodes": [{**A, "id": LONG}]}, "nodes[0]: id: is 256 characters long, more than 255: shorten it"),
        (
            {"nodes": [{**A, "id": "L[0]/b"}]},
            "node 'L[0]/b': id: 'L[0]/b' has / in it, which parts a key within a loop: take it out",
        ),
        ({"nodes": [A, A]}, "node 'a': the id is used twice: give every node an id of its own"),
        ({"nodes": [{**A, "config": "x"}]}, "node 'a': config: Input should be a valid dictionary"),
        ({"nodes": [{**A, "max_retries": -1}]}, "node 'a': max_retries: Input should be greater than or equal to 0"),
        ({"nodes": [{**A, "max_retries": True}]}, "node 'a': max_retries: must be a number, not true or false"),
        ({"nodes": [{**A, "timeout": 0}]}, "node 'a': timeout: Input should be greater than 0"),
        (
            {"nodes": [A], "timeout": "soon"},
            "graph: timeout: Input should be a valid number, unable to parse string as a number",
        ),
        ({"nodes": [A], "edges": "a"}, 'edges: must be a list of {"from": id, "to": id}, not text'),
        ({"nodes": [A], "edges": ["a"]}, 'edges[0]: an edge must be an object {"from": id, "to": id}, not text'),
        ({"nodes": [A], "edges": [{"to": "a"}]}, "edges[0]: from (or source): is missing: add it"),
        ({"nodes": [A], "edges": [{"from": "a", "target": None}]}, "edges[0]: to (or target): is missing: add it"),
        (
            {"nodes": [A, node("b")], "edges": [{"from": "a", "to": "b", "condition": ["x"]}]},
            "edge 'a' -> 'b': condition: a label must be text, a number, true or false",
        ),
        (
            graph([A], [edge("a", "a")]),
            "edge 'a' -> 'a': goes from a node to itself: remove it, a loop needs other nodes as its body",
        ),
        (
            graph([node("first"), node("second")], [edge("first", "secnd")]),
            "edge 'first' -> 'secnd': there is no node 'secnd' (did you mean 'second'?): "
            "add the node or remove the edge",
        ),
        (graph([node("a", "http_requst")]), "node 'a': unknown type 'http_requst' (did you mean 'http_request'?)"),
        (
            graph([node("a", "teleport")]),
            "node 'a': unknown type 'teleport': load the module that registers a handler for it",
        ),
        (graph([node("a", "call")]), "node 'a': config.url: is missing: add it"),
        (
            graph([node("a", "call", url="u", retries=[1, "x"])]),
            "node 'a': config.retries[1]: Input should be a valid integer, unable to parse string as an integer",
        ),
        (
            graph([A, node("b"), node("c")], chain("a", "b", "a")),
            "graph: has a cycle that nothing ends: a -> b -> a; let a condition in it choose between going on "
            "and an edge out of it, or use a loop node",
        ),
        (
            graph([A, node("b", x="{{ nodes.lost.output }}"), node("lost")], chain("a", "b"), entry_node_id="a"),
            "node 'b': config reads the output of node 'lost', which does not run",
        ),
        (
            graph([node("a", x="{{ nodes.b.output }}"), node("b"), node("c")]),
            "node 'a': config reads the output of node 'b', which does not surely run before it: "
            "draw a way from 'b' to it",
        ),
        (graph([A, node("b", x="{{ nodes.b.output }}")]), "node 'b': config reads the output of the node itself"),
        (
            graph([node("c", "condition", expression="true"), node("b")], [edge("c", "b", "yes")]),
            "edge 'c' -> 'b': label 'yes' is never chosen by a node of type 'condition': "
            "use 'true', 'false', 'success' or 'failed', or no label",
        ),
        (
            graph(
                [node("s", "switch", switch_expression="input.x", cases={"1": "one"}), node("b")], [edge("s", "b", 2)]
            ),
            "edge 's' -> 'b': label '2' is never chosen by a node of type 'switch': "
            "use one of its cases, 'default', 'success' or 'failed', or no label",
        ),
    ],
)
def test_one_problem(source: Any, line: str) -> None:
    assert refused(source) == [line]


CIRCULAR: list[Any] = []
CIRCULAR.append(CIRCULAR)
DOUBLED: list[Any] = [1]
for _ in range(60):
    DOUBLED = [DOUBLED, DOUBLED]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (math.nan, "nodes[0].config.x: is nan, which JSON has not: give null or text"),
        ("a\0b", "nodes[0].config.x: has a NUL character, which Postgres cannot store: remove it"),
        ({"a\0b": 1}, "nodes[0].config.x: a key has a NUL character, which Postgres cannot store: remove it"),
        ("\ud800", "nodes[0].config.x: is not valid Unicode (half of a surrogate pair): write the character whole"),
        ({1: 2}, "nodes[0].config.x: a key must be text, not a int: put it in quotes"),
        (b"x", "nodes[0].config.x: a bytes is not JSON: give text, a number, true, false, null, a list or an object"),
        (10**400, "nodes[0].config.x: has more than 300 digits: give it as text"),
    ],
)
def test_what_is_not_json_is_refused_at_its_place(value: Any, line: str) -> None:
    assert refused(graph([node("a", x=value)])) == [line]


def test_bottomless_nesting_is_refused_and_not_walked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(graph([node("a", x=CIRCULAR)]))[0].endswith("nested more than 100 deep: flatten it")
    monkeypatch.setattr(graph_json, "MAX_VALUES", 1000)
    assert refused(graph([node("a", x=DOUBLED)])) == [
        "graph: holds more than 1,000 values: split it into several workflows"
    ]


@pytest.mark.parametrize("inline", [False, True])
def test_nesting_up_to_the_limit_is_stored_and_read_again(inline: bool) -> None:
    value: Any = 1
    for _ in range(97 if inline else 96):
        value = [value]
    source = {"nodes": {"a": {"type": "plain", "x": value}}} if inline else graph([node("a", x=value)])
    stored = canonical(source, HANDLERS)
    assert canonical(stored, HANDLERS) == stored


def test_too_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_source, "MAX_NODES", 2)
    assert refused(graph([A, node("b"), node("c")])) == ["nodes: 3 nodes are more than 2: split the workflow"]


def test_too_many_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "MAX_READS", 3)
    nodes = [node("s", "set_variable", variable_name="y"), *(node(name, x="{{ vars.y }}") for name in "abcd")]
    lines = refused(graph(nodes, [edge("s", name) for name in "abcd"]))
    assert lines == ["graph: its nodes read variables of others more than 3 times in all: split the workflow"]


def test_all_problems_come_at_once() -> None:
    lines = refused(
        graph(
            [
                node("a", "call", timeout="soon", retries=["x"]),
                {"id": "b"},
                node("c", "nonsense", x="{{ nodes.zzz.output }}"),
                node("d", x="\0"),
                node("e"),
                node("a"),
            ],
            [edge("a", "nowhere"), edge("e", "e"), edge("a", "b"), *chain("c", "d", "c"), "x"],
            timeout=-1,
        )
    )
    starts = [
        "nodes[3].config.x: has a NUL",
        "graph: timeout: ",
        "node 'b': type (or node_type): is missing",
        "node 'a': the id is used twice",
        "edges[5]: an edge must be",
        "node 'a': config.url: is missing",
        "node 'a': config.timeout: ",
        "node 'a': config.retries[0]: ",
        "node 'c': unknown type 'nonsense'",
        "node 'c': config.x: ",
        "edge 'a' -> 'nowhere': there is no node",
        "edge 'e' -> 'e': goes from a node to itself",
        "graph: has a cycle that nothing ends: c -> d -> c",
    ]
    assert [next((start for start in starts if line.startswith(start)), line) for line in lines] == starts


def test_every_knot_shows_one_cycle_and_a_long_one_is_cut() -> None:
    names = [f"n{index}" for index in range(40)]
    nodes = [node(name) for name in ["a", "b", "c", *names]]
    lines = refused(graph(nodes, [*chain("a", "b", "a"), *chain("b", "c"), *chain(*names, "n0")]))
    assert len(lines) == 2
    assert "a -> b -> a" in lines[0]
    assert "n0 -> n1 -> n2 -> n3 -> n4 -> n5 -> (29 more) -> n35 -> n36 -> n37 -> n38 -> n39 -> n0" in lines[1]


def test_an_odd_id_stays_on_one_line() -> None:
    odd = "a\nb" + "c" * 200
    (line,) = refused(graph([node(odd, "nonsense")]))
    assert line.startswith("node 'a\\nb") and len(line) < 200


def test_a_template_may_stand_where_the_model_wants_something_else() -> None:
    config = {
        "url": "u",
        "timeout": "{{ input.seconds }}",
        "headers": "{{ input.headers }}",
        "retries": [1, "{{ input.n }}"],
    }
    stored = canonical(graph([node("a", "call", **config)]), HANDLERS)
    assert stored["nodes"][0]["config"]["timeout"] == "{{ input.seconds }}"
    assert stored["nodes"][0]["needs"]["input"] is True


def test_a_template_elsewhere_does_not_excuse_a_missing_field() -> None:
    lines = refused(graph([node("a", "call", method="{{ input.m }}", timeout="soon")]))
    assert [line.split(":")[1].strip() for line in lines] == ["config.url", "config.timeout"]


def test_a_bad_expression_is_told_once_with_its_place() -> None:
    lines = refused(graph([node("a", "call", url="{{ ((( }}")]))
    assert len(lines) == 1
    assert lines[0].startswith("node 'a': config.url: ")


def test_values_of_a_config_are_not_shown() -> None:
    assert not any("hunter2" in line for line in refused(graph([node("a", "call", url="u", headers="hunter2")])))


class Picky(Open):
    x: int = 0

    @field_validator("x")
    @classmethod
    def _explode(cls, value: int) -> int:
        raise RuntimeError(f"no\n{value}")


class Either(Open):
    a: str = ""
    b: str = ""

    @model_validator(mode="after")
    def _one(self) -> Either:
        if not (self.a or self.b):
            raise ValueError("give a or b")
        return self


def test_a_check_of_the_handler_that_crashes_is_a_problem_of_that_node() -> None:
    (line,) = refused(graph([node("a", x=1)]), with_model(Picky))
    assert line == "node 'a': config: the check of type 'plain' failed with RuntimeError: no 1"


def test_a_check_of_the_whole_config() -> None:
    assert refused(graph([node("a")]), with_model(Either)) == ["node 'a': config: give a or b"]
    assert canonical(graph([node("a", b="x")]), with_model(Either))


def test_doubles_of_an_edge_are_one_edge() -> None:
    source = graph(
        [A, node("b")], [edge("a", "b"), {"source": "a", "target": "b", "branch": ""}, edge("a", "b", "failed")]
    )
    assert labels(source) == [None, "failed"]


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ({}, None),
        ({"branch": None, "condition": "", "sourceHandle": "true"}, "true"),
        ({"branch": "false", "condition": "true"}, "false"),
        ({"condition": True}, "true"),
        ({"condition": "TRUE"}, "true"),
        ({"label": "false"}, "false"),
        ({"label": {"text": "false"}}, None),
        ({"label": "false", "branch": "true"}, "true"),
        ({"branch": "failed"}, "failed"),
    ],
)
def test_the_label_of_an_edge(written: dict[str, Any], label: str | None) -> None:
    nodes = [node("c", "condition", expression="true"), node("b")]
    assert labels(graph(nodes, [{"from": "c", "to": "b", **written}])) == [label]


def test_a_label_for_several_cases_of_a_switch_becomes_as_many_edges() -> None:
    config = {"switch_expression": "input.x", "cases": {"DE": "german", "AT": "german", "FR": "french"}}
    source = graph([node("s", "switch", **config), node("b")], [edge("s", "b", "german"), edge("s", "b", "FR")])
    stored = canonical(source, HANDLERS)
    assert [each["label"] for each in stored["edges"]] == ["DE", "AT", "FR"]
    assert canonical(stored, HANDLERS) == stored
    late = graph([node("s", "switch", switch_expression="input.x", cases="{{ input.cases }}"), node("b")])
    assert labels({**late, "edges": [edge("s", "b", "any")]}) == ["any"]


@pytest.mark.parametrize(("written", "label"), [("1", "1"), (1, "1"), (1.0, "1"), ("one", "1"), ("default", "default")])
def test_the_label_of_a_switch(written: Any, label: str) -> None:
    config = {"switch_expression": "input.x", "cases": {"1": "one", "default": "rest"}}
    assert labels(graph([node("s", "switch", **config), node("b")], [edge("s", "b", written)])) == [label]


def test_labels_drawn_on_nodes_that_choose_by_something_else() -> None:
    options = {"approval_options": ["yes", "no"], "on_timeout": "other"}
    nodes = [node("r", "rag_switch"), node("h", "human_approval", **options), node("b")]
    edges = [
        {"from": "r", "to": "b", "label": "milvus"},
        {"from": "h", "to": "b", "label": "no"},
        edge("h", "b", "other"),
    ]
    assert labels(graph(nodes, edges)) == ["milvus", "no", "other"]


SWITCH = node("s", "switch", switch_expression="input.country", cases={"DE": "german", "AT": "german"})
ASK = node("h", "human_approval", approval_options=["ship", "hold"])
NOBODY = "is never chosen by a node of type"


@pytest.mark.parametrize(
    ("first", "written", "line"),
    [
        (
            node("c", "condition", expression="true"),
            {"label": "ture"},
            f"edge 'c' -> 'b': label 'ture' {NOBODY} 'condition' (did you mean 'true'?): "
            "use 'true', 'false', 'success' or 'failed', or no label",
        ),
        (
            node("c", "condition", expression="true"),
            {"sourceHandle": "ture"},
            f"edge 'c' -> 'b': label 'ture' {NOBODY} 'condition' (did you mean 'true'?): "
            "use 'true', 'false', 'success' or 'failed', or no label",
        ),
        (
            SWITCH,
            {"label": "germann"},
            f"edge 's' -> 'b': label 'germann' {NOBODY} 'switch' (did you mean 'german'?): "
            "use one of its cases, 'default', 'success' or 'failed', or no label",
        ),
        (
            ASK,
            {"label": "shop"},
            f"edge 'h' -> 'b': label 'shop' {NOBODY} 'human_approval' (did you mean 'ship'?): "
            "use 'ship', 'hold', 'timeout', 'success' or 'failed', or no label",
        ),
        (
            A,
            {"branch": "yes"},
            f"edge 'a' -> 'b': label 'yes' {NOBODY} 'plain': use 'success' or 'failed', or no label",
        ),
        (
            A,
            {"label": "failled"},
            f"edge 'a' -> 'b': label 'failled' {NOBODY} 'plain' (did you mean 'failed'?): "
            "use 'success' or 'failed', or no label",
        ),
    ],
)
def test_a_label_that_is_never_chosen(first: dict[str, Any], written: dict[str, Any], line: str) -> None:
    assert refused(graph([first, node("b")], [{"from": first["id"], "to": "b", **written}])) == [line]


def test_what_an_editor_draws_on_an_ordinary_node_is_told() -> None:
    for written in ({"sourceHandle": "bottom"}, {"label": "and then"}):
        source = graph([A, node("b")], [{"source": "a", "target": "b", **written}])
        assert labels(source) == [None]
        (line,) = warnings(source)
        assert line.endswith("is not read: of this node they are 'success' or 'failed'")
    assert labels(graph([A, node("b")], [edge("a", "b", "Failed")])) == ["failed"]


def test_a_label_of_what_only_the_run_tells_is_kept_and_never_followed_by_itself() -> None:
    late = node("s", "switch", switch_expression="input.x", cases="{{ input.cases }}")
    ask = node("h", "human_approval", approval_options="{{ input.options }}")
    ways = [{"from": "s", "to": "b", "label": "any"}, {"from": "h", "to": "b", "label": "other"}]
    assert labels(graph([late, ask, node("b")], ways)) == ["any", "other"]


def test_what_is_odd_but_runs_is_told() -> None:
    condition = node("c", "condition", expression="true")
    both = "node 'c': its edges have no labels, so all are followed whatever it decides: label them"
    assert warnings(graph([condition, A, node("b")], [edge("c", "a"), edge("c", "b")])) == [both]
    assert warnings(graph([condition, A, node("b")], [edge("c", "a", True), edge("c", "b")])) == []
    nothing = "graph: entry_node_id 'x' names no node, so every node without an incoming edge starts"
    assert warnings(graph([A], entry_node_id="x")) == [nothing]
    unread = "node 'a': key 'retires' is not read: put what the handler should see into config"
    assert warnings(graph([{**A, "retires": 3}])) == [unread]
    retry = "node 'a': in retry only max_retries is read, not 'attempts'"
    assert warnings(graph([{**A, "retry": {"attempts": 3}}])) == [retry]
    key = "nodes['a']: its own id 'b' is not read, the key is its id"
    assert warnings({"nodes": {"a": {"id": "b", "type": "plain"}}}) == [key]
    data = "node 'a': data has no config, so its keys 'url' are not read: put them into data.config"
    assert warnings(graph([{"id": "a", "type": "plain", "data": {"label": "A", "url": "u"}}])) == [data]


def test_the_platforms_keys_are_kept_in_silence() -> None:
    keys = {
        "position_x": 1,
        "width": 2.5,
        "selected": True,
        "dragging": False,
        "parallel_wait_mode": "n_of_m",
        "parallel_wait_n": 2,
    }
    stored = canonical(graph([{**A, **keys}]), HANDLERS)
    assert stored["warnings"] == []
    assert {key: stored["nodes"][0][key] for key in keys} == keys


def test_errors_of_the_graph_are_graph_invalid_only() -> None:
    for source in (object(), math.inf, {"nodes": object()}, {"nodes": {1: A}}, {"nodes": [{**A, "next": {}}]}):
        with pytest.raises(GraphInvalid):
            canonical(source, HANDLERS)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            graph([{**node("a", "http_request"), "config": {"url": "http://x.example", "methd": "POST"}}], []),
            "node 'a': config: has 'methd': did you mean 'method'?",
        ),
        (graph([{**node("a"), "max_retires": 3}], []), "node 'a': has 'max_retires': did you mean 'max_retries'?"),
        (
            graph([{**node("a"), "at_most_onec": True}], []),
            "node 'a': has 'at_most_onec': did you mean 'at_most_once'?",
        ),
        (
            graph([node("a"), node("b")], [{"from": "a", "to": "b", "lable": "failed"}]),
            "edge 'a' -> 'b': has 'lable': did you mean 'label'?",
        ),
        ({**graph([node("a")], []), "timout": 5}, "graph: has 'timout': did you mean 'timeout'?"),
    ],
)
def test_a_misspelt_key_is_told(source: dict[str, Any], told: str) -> None:
    assert refused(source) == [told]


def test_keys_of_an_editor_are_not_taken_for_misspelt_ones() -> None:
    editors = {"methods": ["GET", "POST"], "ui": {}, "urlHint": "x", "retry_count": 3}
    source = graph(
        [{**node("a", "http_request"), "config": {"url": "http://x.example", "method": "GET", **editors}}], []
    )
    assert canonical(source, HANDLERS)["nodes"][0]["config"].keys() >= editors.keys()
