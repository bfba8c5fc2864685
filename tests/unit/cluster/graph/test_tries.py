"""try, catch and finally as they are stored: which failure leads where."""

from __future__ import annotations

from typing import Any

import pytest

from dray.cluster.graph.canonical import canonical
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node, refused

Way = tuple[str, str, str | None]


def tried(*ids: str) -> list[dict[str, Any]]:
    """Nodes by their ids: try, catch and finally are what they are called, loop is a foreach, the rest is plain."""
    kinds = {"try": "try", "catch": "catch", "finally": "finally", "loop": "foreach"}
    found = []
    for each in ids:
        kind = kinds.get(each.rstrip("0123456789"), "plain")
        found.append(node(each, kind, **({"array_expression": "input.rows"} if kind == "foreach" else {})))
    return found


def stored(*ways: tuple[str, ...], extra: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    ids = list(dict.fromkeys(each for way in ways for each in way))
    source = graph(tried(*ids), [*(each for way in ways for each in chain(*way)), *(extra or [])])
    found = canonical(source, HANDLERS)
    assert canonical(found, HANDLERS) == found
    return found


def added(found: dict[str, Any]) -> list[Way]:
    """But for the edges from a try to what runs in any case."""
    roles = {"failed": "catch", "passed": "pass", None: "pass"}
    assert all(each["role"] == roles[each["label"]] for each in found.get("added", []))
    ways = [(each["from"], each["to"], each["label"]) for each in found.get("added", [])]
    return sorted(each for each in ways if each[2] is not None)


def label(found: dict[str, Any], source: str, target: str) -> str | None:
    (only,) = (each["label"] for each in found["edges"] if (each["from"], each["to"]) == (source, target))
    assert only is None or isinstance(only, str)
    return only


def error(found: dict[str, Any], node_id: str) -> list[str]:
    (only,) = (each["needs"].get("error", []) for each in found["nodes"] if each["id"] == node_id)
    return list(only)


def test_the_whole_chain() -> None:
    found = stored(("try", "a", "b", "catch", "c", "finally", "d"))
    assert added(found) == [
        ("a", "catch", "failed"),
        ("b", "catch", "failed"),
        ("c", "finally", "failed"),
        ("catch", "finally", "failed"),
        ("catch", "finally", "passed"),
    ]
    assert label(found, "catch", "c") == "caught"
    assert label(found, "c", "finally") is None
    assert error(found, "catch") == ["a", "b"]
    assert error(found, "finally") == ["catch", "c"]


def test_a_try_leads_to_its_catches_and_its_finally() -> None:
    found = stored(("try", "a", "catch", "b", "catch2", "c", "finally", "d"))
    always = [(each["from"], each["to"]) for each in found["added"] if each["label"] is None]
    assert always == [("try", "catch"), ("try", "catch2"), ("try", "finally")]
    drawn = stored(("try", "a", "catch"), ("try", "catch"))
    assert [each for each in drawn["added"] if each["label"] is None] == [], "as its author drew it"


@pytest.mark.parametrize("more", [(), ("a",)])
def test_a_catch_behind_the_finally_of_its_try_is_refused(more: tuple[str, ...]) -> None:
    ways = [*chain("try", *more, "finally", "catch"), *chain("try", "catch")]
    assert refused(graph(tried("try", *more, "finally", "catch"), ways)) == [
        "node 'catch': is a catch behind 'finally', the finally of its try: draw try -> work -> catch -> finally"
    ]


def test_without_finally_what_follows_the_catch_always_runs() -> None:
    found = stored(("try", "a", "catch", "c"))
    assert added(found) == [("a", "catch", "failed")]
    assert label(found, "catch", "c") is None


def test_without_catch_failures_lead_to_finally() -> None:
    found = stored(("try", "a", "b", "finally", "d"))
    assert added(found) == [("a", "finally", "failed"), ("b", "finally", "failed")]


def test_catch_and_finally_without_anything_between() -> None:
    found = stored(("try", "a", "catch", "finally", "d"))
    assert added(found) == [("a", "catch", "failed"), ("catch", "finally", "failed")]
    assert label(found, "catch", "finally") is None


def test_labels_may_be_drawn() -> None:
    nodes = tried("try", "a", "catch", "repair", "next")
    ways = [*chain("try", "a", "catch"), edge("catch", "repair", "caught"), edge("catch", "next", "Passed")]
    found = canonical(graph(nodes, ways), HANDLERS)
    assert canonical(found, HANDLERS) == found
    assert (label(found, "catch", "repair"), label(found, "catch", "next")) == ("caught", "passed")
    assert refused(graph(nodes, [*chain("try", "a", "catch"), edge("catch", "next", "maybe")])) == [
        "edge 'catch' -> 'next': label 'maybe' is never chosen by a node of type 'catch': "
        "use 'caught', 'passed', 'success' or 'failed', or no label"
    ]


def test_branches_of_the_protected_part_are_all_protected() -> None:
    found = stored(("try", "a", "catch"), ("try", "b", "catch"), ("b", "c", "catch"))
    assert added(found) == [("a", "catch", "failed"), ("b", "catch", "failed"), ("c", "catch", "failed")]


def test_a_node_that_does_not_lead_to_the_catch_is_not_protected() -> None:
    found = stored(("try", "a", "catch"), ("a", "aside"))
    assert added(found) == [("a", "catch", "failed")]


def test_an_error_edge_of_the_author_stays_the_only_one() -> None:
    found = stored(("try", "a", "b", "catch"), extra=[edge("a", "b", "failed")])
    assert added(found) == [("b", "catch", "failed")]


def test_a_try_in_the_protected_part_takes_its_failures_first() -> None:
    found = stored(("try1", "a", "try2", "b", "catch2", "c", "finally2", "d", "catch1"))
    assert added(found) == [
        ("a", "catch1", "failed"),
        ("b", "catch2", "failed"),
        ("c", "finally2", "failed"),
        ("catch2", "finally2", "failed"),
        ("catch2", "finally2", "passed"),
        ("d", "catch1", "failed"),
        ("finally2", "catch1", "failed"),
    ]


def test_a_try_without_finally_in_the_protected_part() -> None:
    found = stored(("try1", "try2", "a", "catch2", "b", "catch1"))
    assert added(found) == [("a", "catch2", "failed"), ("b", "catch1", "failed"), ("catch2", "catch1", "failed")]


def test_a_try_in_the_catch_block() -> None:
    found = stored(("try1", "a", "catch1", "try2", "b", "catch2", "finally2", "c", "finally1"))
    assert added(found) == [
        ("a", "catch1", "failed"),
        ("b", "catch2", "failed"),
        ("c", "finally1", "failed"),
        ("catch1", "finally1", "failed"),
        ("catch1", "finally1", "passed"),
        ("catch2", "finally2", "failed"),
        ("finally2", "finally1", "failed"),
    ]
    assert label(found, "catch1", "try2") == "caught"
    assert label(found, "catch2", "finally2") is None


def test_one_try_after_the_other() -> None:
    found = stored(("try1", "a", "catch1", "b", "try2", "c", "catch2", "d"))
    assert added(found) == [("a", "catch1", "failed"), ("c", "catch2", "failed")]


def test_a_catch_more_is_asked_after_the_one_before_it() -> None:
    found = stored(("try", "a", "catch1", "b", "catch2", "c", "finally"))
    assert added(found) == [
        ("a", "catch1", "failed"),
        ("b", "finally", "failed"),
        ("c", "finally", "failed"),
        ("catch1", "catch2", "failed"),
        ("catch1", "catch2", "passed"),
        ("catch2", "finally", "failed"),
        ("catch2", "finally", "passed"),
    ]
    assert (label(found, "catch1", "b"), label(found, "catch2", "c")) == ("caught", "caught")


def test_two_branches_with_a_catch_each() -> None:
    found = stored(("try", "a", "catch1", "finally"), ("try", "b", "catch2", "finally"))
    assert added(found) == [
        ("a", "catch1", "failed"),
        ("b", "catch2", "failed"),
        ("catch1", "finally", "failed"),
        ("catch2", "finally", "failed"),
    ]


def test_a_loop_is_protected_as_a_whole_and_a_cycle_by_its_header() -> None:
    found = stored(("try", "loop", "work", "loop"), ("loop", "catch"))
    assert added(found) == [("loop", "catch", "failed")]
    nodes = [*tried("try", "ask", "catch"), node("ready", "condition", condition="input.x")]
    ways = [*chain("try", "ask", "ready"), edge("ready", "ask", False), edge("ready", "catch", True)]
    found = canonical(graph(nodes, ways), HANDLERS)
    assert canonical(found, HANDLERS) == found
    assert added(found) == [("ask", "catch", "failed")]


def test_a_try_in_a_loop_body() -> None:
    found = stored(("loop", "try", "a", "catch", "loop"))
    assert added(found) == [("a", "catch", "failed")]


def test_a_catch_may_stand_behind_an_error_edge() -> None:
    found = stored(("start", "a"), ("catch", "c"), extra=[edge("a", "catch", "failed")])
    assert added(found) == []
    assert error(found, "catch") == ["a"]


def test_the_error_is_a_name_in_what_follows() -> None:
    nodes = [*tried("try", "a", "catch"), node("say", text="{{ error.message }}"), node("silent")]
    found = canonical(graph(nodes, chain("try", "a", "catch", "say", "silent")), HANDLERS)
    assert error(found, "say") == ["a"]
    assert error(found, "silent") == []
    lost = canonical(graph([node("a", text="{{ error.type }}")]), HANDLERS)
    assert lost["warnings"] == ["node 'a': config reads error, which is always null here: no 'failed' edge leads to it"]


def test_a_try_that_protects_nothing_is_told() -> None:
    assert stored(("try", "a"))["warnings"] == [
        "node 'try': protects nothing, no catch or finally follows it: draw try -> work -> catch"
    ]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            graph(tried("a", "catch"), chain("a", "catch")),
            "node 'catch': is a catch without a try before it: draw try -> work -> catch (in one loop body), "
            "or lead a 'failed' edge to it",
        ),
        (
            graph(tried("a", "finally"), chain("a", "finally")),
            "node 'finally': is a finally without a try before it: draw try -> work -> finally (in one loop body), "
            "or lead a 'failed' edge to it",
        ),
        (
            graph(tried("try", "loop", "a", "catch"), [*chain("try", "loop", "a", "catch", "loop")]),
            "node 'catch': is a catch without a try before it: draw try -> work -> catch (in one loop body), "
            "or lead a 'failed' edge to it",
        ),
        (
            graph(
                tried("try", "a", "b", "finally1", "finally2"),
                [*chain("try", "a", "finally1"), *chain("try", "b", "finally2")],
            ),
            "node 'finally2': is a second finally of one try, beside 'finally1': lead both ways to one",
        ),
    ],
)
def test_what_is_refused(source: Any, line: str) -> None:
    assert refused(source) == [line]


def test_many_tries_one_after_the_other_and_no_more_than_fifty_inside_each_other() -> None:
    ids = [f"{kind}{index}" for index in range(2_000) for kind in ("try", "a", "catch")]
    assert len(added(stored(tuple(ids)))) == 2_000
    nested = [f"try{index}" for index in range(51)]
    assert refused(graph(tried(*nested, "a", "catch"), chain(*nested, "a", "catch"))) == [
        "node 'try50': is inside of 50 other tries: split the workflow"
    ]
