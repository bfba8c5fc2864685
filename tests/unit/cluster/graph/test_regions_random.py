"""Random nested loops: what is found is what was made, each region is without a cycle, and nothing costs too much."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dray.cluster.errors import GraphInvalid
from dray.cluster.graph import order as graph_order
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from tests.unit.cluster.graph.test_properties import closure
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node

KINDS = {"for": "for", "foreach": "each", "while": "while", "repeat": "for"}
CONFIG = {"array_expression": "[1]", "condition_expression": "true", "repeat_count": 2}
Made = list[tuple[str, str, str | None, set[str]]]


class Maker:
    """Draws a program of sequences, choices, loops, cycles and tries, and remembers its regions."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        self.made: Made = []
        self.inside: list[tuple[str, str]] = []  # kind and header of the regions around

    def add(self, node_type: str = "plain", **config: Any) -> str:
        name = f"{node_type}{len(self.nodes)}"
        self.nodes.append(node(name, node_type, **config))
        for kind, header, _, nodes in self.made:
            if self.inside and (kind, header) == self.inside[-1]:
                nodes.add(name)
        return name

    def link(self, source: str, target: str, label: Any = None) -> None:
        self.edges.append(edge(source, target, label))

    def sequence(self, after: str, depth: int, label: Any = None) -> str:
        for _ in range(self.draw(st.integers(1, 3))):
            kinds = [self.plain] + ([self.loop, self.cycle, self.choice, self.caught] if depth else [])
            after = self.draw(st.sampled_from(kinds))(after, depth, label)
            label = None
        return after

    def plain(self, after: str, depth: int, label: Any) -> str:
        name = self.add()
        self.link(after, name, label)
        return name

    def choice(self, after: str, depth: int, label: Any) -> str:
        name = self.add("condition", condition="input.x")
        self.link(after, name, label)
        join = self.add()
        self.link(self.sequence(name, depth - 1, "true"), join)
        self.link(self.sequence(name, depth - 1, "false"), join)
        return join

    def caught(self, after: str, depth: int, label: Any) -> str:
        start, catch = self.add("try"), self.add("catch")
        self.link(after, start, label)
        self.link(self.sequence(start, depth - 1), catch)
        if self.draw(st.booleans()):
            end = self.add("finally")
            self.link(self.sequence(catch, depth - 1), end)
            return end
        return catch

    def loop(self, after: str, depth: int, label: Any) -> str:
        kind = self.draw(st.sampled_from(sorted(KINDS)))
        header = self.add(kind, **CONFIG)
        self.link(after, header, label)
        self.region(KINDS[kind], header)
        labelled = self.draw(st.booleans())
        last = self.sequence(header, depth - 1, "body" if labelled else None)
        self.link(last, header)
        if kind != "foreach" and self.draw(st.booleans()):
            choice = self.add("condition", condition="input.x")
            self.link(last, choice)
            self.link(choice, self.add("break"), "true")
            self.link(choice, header, "false")
        self.inside.pop()
        return header

    def cycle(self, after: str, depth: int, label: Any) -> str:
        self.region("cycle", f"plain{len(self.nodes)}")
        header = self.add()
        self.link(after, header, label)
        last = self.sequence(header, depth - 1)
        choice = self.add("condition", condition="input.x")
        self.link(last, choice)
        self.link(choice, header, "false")
        self.inside.pop()
        join = self.add()
        self.link(choice, join, "true")
        return join

    def region(self, kind: str, header: str) -> None:
        self.made.append((kind, header, self.inside[-1][1] if self.inside else None, set()))
        self.inside.append((kind, header))


@st.composite
def programs(draw: st.DrawFn) -> tuple[dict[str, Any], Made]:
    maker = Maker(draw)
    maker.sequence(maker.add("trigger"), 3)
    order = draw(st.permutations(range(len(maker.nodes))))
    return graph([maker.nodes[each] for each in order], draw(st.permutations(maker.edges))), maker.made


@settings(max_examples=150, deadline=None)
@given(programs())
def test_the_regions_found_are_those_that_were_made(program: tuple[dict[str, Any], Made]) -> None:
    source, made = program
    stored = canonical(source, HANDLERS)
    assert canonical(stored, HANDLERS) == stored
    assert load(1, "w", 1, stored)
    regions = stored.get("regions", [])
    found = [
        (
            each["kind"],
            each["header"],
            None if each["parent"] is None else regions[each["parent"]]["header"],
            set(each["nodes"]),
        )
        for each in regions
    ]
    assert sorted(found, key=lambda each: each[:2]) == sorted(made, key=lambda each: each[:2])
    assert all(each["parent"] is None or each["parent"] < index for index, each in enumerate(regions))
    check_without_cycles(stored)


def check_without_cycles(stored: dict[str, Any]) -> None:
    index = {each["id"]: position for position, each in enumerate(stored["nodes"])}
    out: list[list[int]] = [[] for _ in index]
    for each in [*stored["edges"], *stored.get("added", [])]:
        if each.get("role") != "back":
            out[index[each["from"]]].append(index[each["to"]])
    assert len(graph_order.topological(out)) == len(out), "without back edges there is no cycle"
    for region in stored.get("regions", []):
        back = [each for each in stored["edges"] if each.get("role") == "back" and each["to"] == region["header"]]
        assert any(each["from"] in members(stored, region) for each in back)


def members(stored: dict[str, Any], region: dict[str, Any]) -> set[str]:
    own = stored["regions"].index(region)
    found = set(region["nodes"])
    for other in stored["regions"]:
        if other["parent"] == own:
            found |= members(stored, other)
    return found


SPECIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "sequential": ("plain", {"sequential": True}),
    "any": ("plain", {"parallel_wait_mode": "any"}),
    "set": ("set_variable", {"variable_name": "x", "variable_value": "{{ vars.x }}"}),
}
KINDS_OF_ALL = ["plain", "condition", "for", "foreach", "while", "break", "try", "catch", "finally", *SPECIAL]


def drawn(node_id: str, kind: str) -> dict[str, Any]:
    node_type, config = SPECIAL.get(kind, (kind, {}))
    return node(node_id, node_type, condition="input.x", **CONFIG, **config)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(2, 7).flatmap(
        lambda n: st.tuples(
            st.lists(
                st.sampled_from(KINDS_OF_ALL),
                min_size=n,
                max_size=n,
            ),
            st.lists(
                st.tuples(
                    st.integers(0, n - 1), st.integers(0, n - 1), st.sampled_from([None, "true", "false", "failed"])
                ),
                max_size=2 * n,
            ),
        )
    )
)
def test_any_graph_is_refused_or_becomes_regions_without_cycles(given_graph: Any) -> None:
    types, ways = given_graph
    nodes = [drawn(f"n{at}", kind) for at, kind in enumerate(types)]
    labels = {"condition": {None, "true", "false", "failed"}}
    edges = [
        edge(f"n{a}", f"n{b}", label if label in labels.get(types[a], {None, "failed"}) else None)
        for a, b, label in ways
        if a != b
    ]
    source = graph(nodes, edges)
    try:
        stored = canonical(source, HANDLERS)
    except GraphInvalid as error:
        assert error.problems
        return
    assert canonical(stored, HANDLERS) == stored
    assert load(1, "w", 1, stored)
    check_without_cycles(stored)


def test_cycles_agree_with_the_slow_way() -> None:
    out = [[1], [2], [0, 3], [4], [3]]
    reach = closure(out)
    assert {frozenset(each) for each in graph_order.knots(out)} == {
        frozenset(b for b in range(5) if a in reach[b] and b in reach[a]) for a in range(5)
    }


def test_ten_thousand_loops_one_after_the_other() -> None:
    names = [f"l{index}" for index in range(10_000)]
    nodes = [each for name in names for each in (node(name, "for", array_expression="[1]"), node(f"{name}-work"))]
    ways = [each for name in names for each in chain(name, f"{name}-work", name)]
    stored = canonical(graph(nodes, [*ways, *chain(*names)]), HANDLERS)
    assert len(stored["regions"]) == 10_000
    assert load(1, "w", 1, stored)


def test_one_loop_over_ten_thousand_nodes() -> None:
    names = [f"n{index}" for index in range(10_000)]
    nodes = [node("each", "for", array_expression="[1]"), *(node(name, text="{{ item }}") for name in names)]
    ways = [each for name in names for each in chain("each", name, "each")]
    stored = canonical(graph(nodes, ways), HANDLERS)
    assert len(stored["regions"][0]["nodes"]) == 10_000
    assert stored["nodes"][-1]["config"] == {"text": "{{ nodes.each.output.item }}"}
