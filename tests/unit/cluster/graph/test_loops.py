"""Loops as they are stored: which nodes are repeated, and what is refused because it cannot be told."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from dray.cluster.graph.canonical import canonical
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node, refused

ITEMS = {"array_expression": "input.rows"}


def stored(source: Any) -> dict[str, Any]:
    found = canonical(source, HANDLERS)
    assert canonical(found, HANDLERS) == found
    return found


def regions(source: Any) -> list[tuple[str, str, int | None, list[str]]]:
    return [(each["kind"], each["header"], each["parent"], each["nodes"]) for each in stored(source).get("regions", [])]


def edges(source: Any) -> list[tuple[str, str, str | None, str | None]]:
    return [(each["from"], each["to"], each["label"], each.get("role")) for each in stored(source)["edges"]]


def needs(source: Any, node_id: str) -> dict[str, Any]:
    return next(each["needs"] for each in stored(source)["nodes"] if each["id"] == node_id)


def loop(node_id: str = "loop", node_type: str = "for", **config: Any) -> dict[str, Any]:
    return node(node_id, node_type, **(ITEMS | config))


def condition(node_id: str) -> dict[str, Any]:
    return node(node_id, "condition", condition="input.x")


def plain(*ids: str) -> list[dict[str, Any]]:
    return [node(each) for each in ids]


LABELLED = [edge("start", "loop"), edge("loop", "work", "body"), edge("work", "loop"), edge("loop", "next", "done")]


# Loop nodes


def test_body_and_exit_by_their_labels() -> None:
    source = graph([*plain("start"), loop(), *plain("work", "next")], LABELLED)
    assert regions(source) == [("for", "loop", None, ["work"])]
    assert edges(source) == [
        ("start", "loop", None, None),
        ("loop", "work", "body", "body"),
        ("work", "loop", None, "back"),
        ("loop", "next", None, None),
    ]


@pytest.mark.parametrize(("body", "done"), [("loop", "exit"), ("BODY", None), (None, "done"), (None, None)])
def test_labels_in_circulation_and_none_are_the_same_graph(body: str | None, done: str | None) -> None:
    nodes = [*plain("start"), loop(), *plain("work", "next")]
    ways = [edge("start", "loop"), edge("loop", "work", body), edge("work", "loop"), edge("loop", "next", done)]
    assert edges(graph(nodes, ways)) == edges(graph(nodes, LABELLED))


def test_a_body_of_several_nodes_and_branches() -> None:
    nodes = [loop(), condition("c"), *plain("a", "b", "next")]
    ways = [*chain("loop", "c"), edge("c", "a", True), edge("c", "b", False), *chain("a", "loop"), *chain("b", "loop")]
    assert regions(graph(nodes, [*ways, edge("loop", "next")])) == [("for", "loop", None, ["c", "a", "b"])]


@pytest.mark.parametrize(
    ("node_type", "config", "kind"),
    [
        ("for", {}, "for"),
        ("foreach", {}, "each"),
        ("while", {"condition_expression": "true"}, "while"),
        ("repeat", {"repeat_count": 3}, "for"),
        ("loop", {}, "for"),
        ("loop", {"loop_type": "while", "condition_expression": "true"}, "while"),
        ("loop", {"loop_type": "repeat", "repeat_count": 3}, "for"),
        ("loop", {"loop_type": "foreach"}, "each"),
    ],
)
def test_the_kind_of_a_loop(node_type: str, config: dict[str, Any], kind: str) -> None:
    source = graph([loop("loop", node_type, **config), node("work")], chain("loop", "work", "loop"))
    assert regions(source) == [(kind, "loop", None, ["work"])]


def test_loops_nest() -> None:
    nodes = [loop("outer"), loop("inner", "foreach"), *plain("work", "after", "end")]
    ways = [*chain("outer", "inner", "work", "inner"), *chain("inner", "after", "outer"), *chain("outer", "end")]
    assert regions(graph(nodes, ways)) == [
        ("for", "outer", None, ["inner", "after"]),
        ("each", "inner", 0, ["work"]),
    ]


def test_a_loop_whose_exit_leads_back_to_it_is_in_a_cycle() -> None:
    nodes = [loop(), condition("again"), *plain("work", "end")]
    ways = [edge("loop", "work", "body"), edge("work", "loop"), edge("loop", "again", "done")]
    ways += [edge("again", "loop", True), edge("again", "end", False)]
    assert regions(graph(nodes, ways)) == [("cycle", "loop", None, ["loop", "again"]), ("for", "loop", 0, ["work"])]
    assert edges(graph(nodes, ways))[1] == ("work", "loop", None, "back")
    assert edges(graph(nodes, ways))[3] == ("again", "loop", "true", "back")


def test_a_loop_alone_begins_at_its_node() -> None:
    assert regions(graph([*plain("work"), loop()], chain("loop", "work", "loop"))) == [("for", "loop", None, ["work"])]


def test_fifty_loops_nest_and_no_more() -> None:
    def nested(depth: int) -> dict[str, Any]:
        names = [f"l{index}" for index in range(depth)]
        ways = [*chain(*names, "work"), *(edge(b, a) for a, b in zip(names, [*names[1:], "work"], strict=True))]
        ways = [edge(each["from"], each["to"], "body" if each in chain(*names, "work") else None) for each in ways]
        return graph([*(loop(name) for name in names), node("work")], ways)

    assert len(regions(nested(50))) == 50
    assert refused(nested(51)) == ["graph: its loops are nested more than 50 deep: use a sub_workflow"]


def test_what_an_editor_leaves_in_a_loops_config_does_no_harm() -> None:
    config = {"condition_expression": "", "repeat_count": "", "loop_type": "while", "max_iterations": "5"}
    (first, _) = stored(graph([loop(**config), node("work")], chain("loop", "work", "loop")))["nodes"]
    assert first["config"] == {"array_expression": "input.rows", "loop_type": "while", "max_iterations": 5}


# Cycles


def test_a_cycle_that_a_condition_closes() -> None:
    nodes = [*plain("start", "ask"), condition("ready"), *plain("end")]
    ways = [*chain("start", "ask", "ready"), edge("ready", "ask", False), edge("ready", "end", True)]
    assert regions(graph(nodes, ways)) == [("cycle", "ask", None, ["ask", "ready"])]
    assert edges(graph(nodes, ways))[2] == ("ready", "ask", "false", "back")


def test_a_cycle_may_end_where_a_choice_has_no_edge_or_by_a_failure() -> None:
    ways = [*chain("start", "ask", "ready"), edge("ready", "ask", False)]
    assert regions(graph([*plain("start", "ask"), condition("ready")], ways)) == [
        ("cycle", "ask", None, ["ask", "ready"])
    ]
    ways = [*chain("start", "a", "b", "a"), edge("b", "end", "failed")]
    assert regions(graph(plain("start", "a", "b", "end"), ways)) == [("cycle", "a", None, ["a", "b"])]


def test_a_cycle_inside_a_loop_and_a_loop_inside_a_cycle() -> None:
    nodes = [loop(), *plain("ask"), condition("ready"), *plain("work")]
    ways = [*chain("loop", "ask", "ready"), edge("ready", "ask", False), edge("ready", "work", True)]
    assert regions(graph(nodes, [*ways, edge("work", "loop")])) == [
        ("for", "loop", None, ["work"]),
        ("cycle", "ask", 0, ["ask", "ready"]),
    ]
    nodes = [*plain("start", "page"), loop(), *plain("work"), condition("more")]
    ways = [*chain("start", "page", "loop", "work", "loop"), *chain("loop", "more"), edge("more", "page", True)]
    assert regions(graph(nodes, ways)) == [
        ("cycle", "page", None, ["page", "loop", "more"]),
        ("for", "loop", 0, ["work"]),
    ]


def test_a_cycle_without_a_way_in_begins_at_its_trigger_or_first_node() -> None:
    ways = [*chain("ask", "ready"), edge("ready", "ask", False)]
    assert regions(graph([condition("ready"), *plain("ask")], ways))[0][1] == "ready"
    ways = [*chain("t", "ready"), edge("ready", "t", False)]
    assert regions(graph([condition("ready"), node("t", "trigger")], ways))[0][1] == "t"
    ways = [*chain("ask", "ready"), edge("ready", "ask", False)]
    assert regions(graph([condition("ready"), *plain("ask")], ways, entry_node_id="ask"))[0][1] == "ask"


# break and continue


@pytest.mark.parametrize("leave", ["break", "continue"])
def test_break_and_continue_and_what_leads_to_them_belong_to_the_body(leave: str) -> None:
    nodes = [loop(), condition("c"), *plain("log", "work", "next"), node("leave", leave)]
    ways = [*chain("loop", "c"), edge("c", "log", True), *chain("log", "leave"), edge("c", "work", False)]
    source = graph(nodes, [*ways, *chain("work", "loop"), *chain("loop", "next")])
    assert regions(source) == [("for", "loop", None, ["c", "log", "work", "leave"])]
    assert stored(source)["warnings"] == []


def test_break_of_an_outer_loop_stands_in_the_inner_body() -> None:
    nodes = [loop("outer", loop_label="rows"), loop("inner"), condition("c"), node("leave", "break", loop_label="rows")]
    ways = [
        *chain("outer", "inner", "c"),
        edge("c", "leave", True),
        edge("c", "inner", False),
        *chain("inner", "outer"),
    ]
    ways[0]["condition"] = ways[1]["condition"] = "body"
    assert regions(graph(nodes, ways)) == [
        ("for", "outer", None, ["inner"]),
        ("for", "inner", 0, ["c", "leave"]),
    ]


def test_break_behind_a_cycle_in_a_loop() -> None:
    nodes = [loop(), *plain("ask"), condition("ready"), node("leave", "break"), *plain("work")]
    ways = [*chain("loop", "ask", "ready"), edge("ready", "ask", False), edge("ready", "leave", True)]
    ways += [edge("ask", "work", "failed"), edge("work", "loop")]
    assert regions(graph(nodes, ways)) == [
        ("for", "loop", None, ["leave", "work"]),
        ("cycle", "ask", 0, ["ask", "ready"]),
    ]


def test_an_edge_after_a_break_is_told() -> None:
    nodes = [loop(), condition("c"), *plain("next"), node("leave", "break")]
    ways = [*chain("loop", "c"), edge("c", "leave", True), edge("c", "loop", False), *chain("loop", "next")]
    source = graph(nodes, [*ways, *chain("leave", "next")])
    assert regions(source) == [("for", "loop", None, ["c", "leave"])]
    assert stored(source)["warnings"] == ["edge 'leave' -> 'next': is never followed: a break goes on at its loop"]


@pytest.mark.parametrize("leave", ["break", "continue"])
@pytest.mark.parametrize("more", [(), ("x",)])
@pytest.mark.parametrize("works", [True, False])
def test_one_to_which_only_an_edge_into_the_body_leads(leave: str, more: tuple[str, ...], works: bool) -> None:
    ways = [*chain("t", "loop"), edge("loop", (*more, "stop")[0], "body"), *chain(*more, "stop")]
    ways += [edge("loop", "B", "body"), *chain("B", "loop")] if works else []
    source = graph([*plain("t"), loop(), node("stop", leave), *plain(*more, *(["B"] if works else []))], ways)
    assert regions(source) == [("for", "loop", None, ["stop", *more, *(["B"] if works else [])])]
    assert stored(source)["warnings"] == []


def test_one_in_a_loop_of_which_nothing_else_leads_back_and_that_leaves_the_one_around_it() -> None:
    nodes = [loop("r"), loop("q"), node("stop", "break", loop_label="r")]
    ways = [edge("r", "q", "body"), edge("q", "stop", "body"), edge("q", "r", "done")]
    assert regions(graph(nodes, ways)) == [("for", "r", None, ["q"]), ("for", "q", 0, ["stop"])]


@pytest.mark.parametrize("leave", ["break", "continue"])
def test_an_execution_does_not_begin_at_one(leave: str) -> None:
    nodes = [loop(), condition("c"), node("x", leave)]
    ways = [edge("loop", "c", "body"), edge("c", "x", True), edge("c", "loop", False), edge("c", "d", "failed")]
    assert refused(graph([*nodes, *plain("d")], ways, entry_node_id="x")) == [
        f"graph: entry_node_id 'x' is a {leave}, which ends a turn that has not begun: "
        "name the node at which the execution begins"
    ]


# The number of a turn


def test_a_cycle_without_a_loop_node_has_no_index_and_the_condition_of_a_while_neither() -> None:
    nodes = [node("poll", text="{{ index }}"), node("ready", "condition", condition="index > 2"), *plain("s", "e")]
    ways = [*chain("s", "poll", "ready"), edge("ready", "poll", False), edge("ready", "e", True)]
    why = "'index' is of a loop node, a cycle that a condition closes has none: count with set_variable"
    assert refused(graph(nodes, ways)) == [f"node 'poll': config.text: {why}", f"node 'ready': config.condition: {why}"]
    nodes = [node("w", "while", condition_expression="index < 3"), *plain("a")]
    why = "'index' is known in the body of the loop, not in its condition: count with set_variable in the body"
    assert refused(graph(nodes, chain("w", "a", "w"))) == [f"node 'w': config.condition_expression: {why}"]


def test_in_a_loop_around_it_the_index_is_that_loops() -> None:
    nodes = [loop(), node("w", "while", condition_expression="index < 3"), *plain("a")]
    ways = [edge("loop", "w", "body"), edge("w", "a", "body"), *chain("a", "w"), edge("w", "loop", "done")]
    (_, inner, _) = stored(graph(nodes, ways))["nodes"]
    assert inner["config"]["condition_expression"] == 'nodes["loop"].output.index < 3'


# What is told


def test_what_does_not_lead_back_runs_after_the_loop() -> None:
    nodes = [loop(), *plain("work", "log")]
    assert stored(graph(nodes, [*chain("loop", "work", "loop"), *chain("work", "log")]))["warnings"] == [
        "edge 'work' -> 'log': does not lead back to 'loop', so it is followed once, after the loop"
    ]
    ways = [edge("loop", "work", "body"), edge("work", "loop"), edge("loop", "log", "body")]
    assert edges(graph(nodes, ways))[2] == ("loop", "log", None, None)
    assert stored(graph(nodes, ways))["warnings"] == [
        "edge 'loop' -> 'log': does not lead back, so it is followed once, after the loop: lead it back to the loop"
    ]


def test_two_unlabelled_edges_that_both_lead_back_are_told() -> None:
    nodes = [loop(), *plain("a", "b")]
    assert stored(graph(nodes, [*chain("loop", "a", "loop"), *chain("loop", "b", "loop")]))["warnings"] == [
        "node 'loop': all its edges lead back to it, so all of them are its body: label them 'body' and 'done'"
    ]


def test_an_unknown_label_of_a_loop_is_refused_unless_an_editor_may_have_drawn_it() -> None:
    ways = [edge("loop", "work", "boddy"), edge("work", "loop")]
    assert refused(graph([loop(), *plain("work")], ways)) == [
        "edge 'loop' -> 'work': label 'boddy' is never chosen by a node of type 'for' (did you mean 'body'?): "
        "use 'body', 'done' or 'failed', or no label"
    ]
    ways[0] = {"source": "loop", "target": "work", "sourceHandle": "right"}
    assert stored(graph([loop(), *plain("work")], ways))["warnings"] == [
        "edge 'loop' -> 'work': label 'right' is not read: of this node they are 'body', 'done' or 'failed'"
    ]


# What is refused

PICTURE = "draw loop -body-> work -> loop, loop -done-> next"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (
            graph([loop(max_parallel="{{ input.n }}"), *plain("work")], chain("loop", "work", "loop")),
            ["node 'loop': config.max_parallel: is read when the workflow is stored: write it out"],
        ),
        (
            graph([loop(), *plain("work")], chain("loop", "work")),
            [f"node 'loop': is a loop without a body, nothing leads back to it: {PICTURE}"],
        ),
        (
            graph([loop(), *plain("work", "next")], [edge("loop", "work", "body"), edge("loop", "next", "done")]),
            [f"node 'loop': is a loop without a body, nothing leads back to it: {PICTURE}"],
        ),
        (
            graph([loop(), *plain("work")], [edge("loop", "work", "done"), edge("work", "loop")]),
            [f"node 'loop': no edge to a body leaves it: {PICTURE}"],
        ),
        (
            graph(
                [loop(), *plain("work")],
                [edge("loop", "work", "body"), edge("loop", "work", "done"), edge("work", "loop")],
            ),
            [f"node 'loop': its edge 'done' leads into its own body: {PICTURE}"],
        ),
        (
            graph([loop(), *plain("start", "work")], [*chain("loop", "work", "loop"), *chain("start", "work")]),
            ["node 'loop': this loop is entered at 'work', in its body: lead the way in to the loop"],
        ),
        (
            graph(
                [loop(), *plain("start", "work", "other")],
                [*chain("start", "loop", "work", "loop"), *chain("other", "work")],
            ),
            ["edge 'other' -> 'work': leads into the body of the loop 'loop' from outside: lead it to the loop"],
        ),
        (
            graph(
                [*plain("start"), loop(), *plain("work")], chain("start", "loop", "work", "loop"), entry_node_id="work"
            ),
            ["graph: entry_node_id 'work' is in the body of the loop 'loop': name the loop"],
        ),
        (
            graph(
                [*plain("s", "t", "a"), condition("b"), *plain("end")],
                [*chain("s", "a", "b"), *chain("t", "b"), edge("b", "a", True), edge("b", "end", False)],
            ),
            ["graph: the cycle a -> b -> a is entered at 'a' and 'b': let all ways in lead to one of them"],
        ),
        (
            graph(plain("a", "b", "c"), [*chain("a", "b", "c", "b")]),
            [
                "graph: has a cycle that nothing ends: b -> c -> b; "
                "let a condition in it choose between going on and an edge out of it, or use a loop node"
            ],
        ),
        (
            graph(
                [*plain("a"), condition("c"), *plain("b")],
                [*chain("a", "c"), edge("c", "a", True), edge("c", "b", False), *chain("b", "a")],
            ),
            [
                "graph: has a cycle that nothing ends: a -> c -> a; "
                "let a condition in it choose between going on and an edge out of it, or use a loop node"
            ],
        ),
        (
            graph([*plain("a"), node("x", "break")], chain("a", "x")),
            [
                "node 'x': is in no loop: every way to it must come from the body of one "
                "(a cycle without a loop node is left by an edge of its condition)"
            ],
        ),
        (
            graph(
                [loop(), condition("c"), node("x", "continue", loop_label="rows")],
                [*chain("loop", "c"), edge("c", "x", True), edge("c", "loop", False)],
            ),
            ["node 'x': config.loop_label: no loop around it is called 'rows': it is in 'loop'"],
        ),
        (
            graph(
                [loop("each", "foreach"), condition("c"), node("x", "break")],
                [*chain("each", "c"), edge("c", "x", True), edge("c", "each", False)],
            ),
            [
                "node 'x': cannot end the foreach 'each', its items run at the same time: "
                "use 'continue' to end this item, or a loop of type 'for'"
            ],
        ),
        (
            graph(
                [loop("each", "foreach"), *plain("w", "log")], [*chain("each", "w", "each"), edge("w", "log", "failed")]
            ),
            [
                "edge 'w' -> 'log': leads out of the body of the foreach 'each', which ends when all its items have: "
                "lead it, or what follows it, back to the loop"
            ],
        ),
    ],
)
def test_what_is_refused(source: Any, lines: list[str]) -> None:
    assert refused(source) == lines


def test_a_key_that_the_database_cannot_hold_is_refused_when_the_workflow_is_stored() -> None:
    """Four nested loops with ids of 255 characters of three bytes each: over the 2,704 that an index entry may take."""
    names = [chr(0x4E00 + n) * 255 for n in range(4)]
    nodes = [loop(each) for each in names] + [node("work")]
    ways = [edge(a, b, "body") for a, b in pairwise([*names, "work"])]
    ways += [edge(b, a) for a, b in pairwise([*names, "work"])]
    (line, *_) = refused(graph(nodes, ways))
    assert "takes" in line
    assert "give shorter ids" in line
    short = [chr(0x4E00 + n) * 150 for n in range(4)]
    renamed = [{**each, "id": dict(zip(names, short, strict=True)).get(each["id"], each["id"])} for each in nodes]
    ways = [edge(a, b, "body") for a, b in pairwise([*short, "work"])]
    ways += [edge(b, a) for a, b in pairwise([*short, "work"])]
    assert len(stored(graph(renamed, ways))["regions"]) == 4
