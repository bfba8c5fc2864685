"""Whatever comes in, canonical() answers with GraphInvalid or with a form that is stable and can be loaded."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dray.cluster.errors import GraphInvalid
from dray.cluster.graph import order as graph_order
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Node
from tests.unit.cluster.graphs import HANDLERS

IDS = st.sampled_from(["a", "b", "c", "http-1", "d.e", "1", 1, "", "a\nb"])
TEXTS = st.sampled_from(
    [
        "",
        "x",
        "true",
        "failed",
        "{{ input.x }}",
        "{{ nodes.a.output }}",
        "{{ nodes.http-1.output.y }} z",
        "{{ vars.v }}",
    ]
    + [
        "{{ nodes[execution.id] }}",
        "{{ a\n+ ( }}",
        "{{ ((( }}",
        "{{",
        "}}",
        "\0",
        "input.x > 1",
        "${x}",
        "a === b && c",
        "'",
        '"',
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | TEXTS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | TEXTS, inner, max_size=3)
)
FOREIGN = st.sampled_from([b"x", object(), {1: 2}, {3}, (1,), 10**400, "\ud800", math.nan])
VALUES = JSON | FOREIGN

TYPES = st.sampled_from(sorted(HANDLERS)) | st.sampled_from(["nonsense", "", 1])
CONFIG_KEYS = [
    "url",
    "timeout",
    "cases",
    "expression",
    "condition",
    "switch_expression",
    "variable_name",
    "approval_options",
    "x",
]
CONFIGS = st.dictionaries(st.sampled_from(CONFIG_KEYS), JSON, max_size=3)
NODE_KEYS = [
    "node_id",
    "id",
    "node_type",
    "type",
    "config",
    "data",
    "next",
    "name",
    "label",
    "needs",
    "max_retries",
    "retry",
]
NODE_KEYS += ["timeout", "timeout_seconds", "at_most_once", "position_x", "position", "parallel_wait_mode", "zzz"]
EDGE_KEYS = ["from", "to", "source", "target", "branch", "condition", "sourceHandle", "label", "id"]
GRAPH_KEYS = ["format", "entry", "entry_node_id", "timeout", "timeout_seconds", "warnings", "dependencies"]


def likely(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with known keys and any values."""
    return st.dictionaries(st.sampled_from(keys), VALUES | IDS, max_size=4)


NODES = st.builds(
    lambda base, rest: {**base, **rest},
    st.fixed_dictionaries(
        {"id": IDS, "type": TYPES}, optional={"config": CONFIGS, "next": IDS | st.lists(IDS, max_size=2)}
    ),
    st.just({}) | likely(NODE_KEYS),
)
EDGES = st.builds(
    lambda base, rest: {**base, **rest},
    st.fixed_dictionaries({"from": IDS, "to": IDS}),
    st.just({}) | likely(EDGE_KEYS),
)
GARBAGE = st.builds(
    lambda nodes, edges, rest: {"nodes": nodes, **({} if edges is None else {"edges": edges}), **rest},
    st.lists(NODES | VALUES, max_size=4) | st.dictionaries(st.sampled_from("abc"), NODES | VALUES, max_size=3),
    st.none() | st.lists(EDGES | VALUES, max_size=5),
    st.just({}) | likely(GRAPH_KEYS),
)


GOOD_IDS = st.sampled_from(["a", "b", "c", "http-1", "d.e", "1", "a\nb"])
NEAR_CONFIGS = st.dictionaries(st.sampled_from(CONFIG_KEYS), TEXTS | LEAVES | JSON, max_size=4)
NEAR_NODES = st.fixed_dictionaries(
    {"id": GOOD_IDS, "type": st.sampled_from(sorted(HANDLERS)) | st.sampled_from(["plain", "nonsense"])},
    optional={"config": NEAR_CONFIGS, "timeout": st.integers(0, 9), "next": GOOD_IDS, "position": JSON, "data": JSON},
)
NEAR_EDGES = st.fixed_dictionaries(
    {"from": GOOD_IDS, "to": GOOD_IDS},
    optional={"condition": TEXTS | st.booleans(), "label": LEAVES, "sourceHandle": st.none() | TEXTS},
)
NEARLY_RIGHT = st.fixed_dictionaries(
    {"nodes": st.lists(NEAR_NODES, min_size=1, max_size=5, unique_by=lambda node: node["id"])},
    optional={"edges": st.lists(NEAR_EDGES, max_size=5), "entry_node_id": GOOD_IDS},
)


@st.composite
def sound(draw: st.DrawFn) -> dict[str, Any]:
    """Graphs that are mostly accepted: edges go forward, nodes read what is before them."""
    count = draw(st.integers(1, 8))
    ids = [f"n-{index}" for index in range(count)]
    nodes = []
    types = ["trigger", "plain", "condition", "if", "delay", "merge", "set_variable", "get_variable", "human_approval"]
    for index, node_id in enumerate(ids):
        texts = ["{{ input.x }}", "{{ vars.v }}", "{{ nodes[execution.id] }}", "x"]
        texts += [f"{{{{ nodes.{other}.output }}}}" for other in ids[:index]]
        config = draw(
            st.fixed_dictionaries({"note": st.sampled_from(texts), "more": st.lists(st.integers(), max_size=2)})
        )
        extra = draw(
            st.fixed_dictionaries({}, optional={"timeout": st.integers(1, 9), "max_retries": st.integers(0, 9)})
        )
        config |= {"variable_name": "v", "variable_value": draw(st.sampled_from(texts))}
        tests = [
            "true",
            "{{ input.x }} > 1",
            "input.x === 1 and not vars.y",
            "nodes.n-0.output !== None",
            "vars['a b']",
        ]
        config |= {"expression": draw(st.sampled_from(tests))}
        nodes.append({"id": node_id, "type": draw(st.sampled_from(types)), "config": config, **extra})
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=14)) if pairs else []
    labels = st.sampled_from([None, "success", "failed"])
    truths = st.sampled_from([None, "true", "false", "success", "failed", True])
    of = {each["id"]: truths if each["type"] in ("condition", "if") else labels for each in nodes}
    edges = [{"source": ids[a], "target": ids[b], "branch": draw(of[ids[a]])} for a, b in chosen]
    return {"nodes": nodes, "edges": edges}


def check_accepted(stored: dict[str, Any]) -> None:
    assert canonical(stored, HANDLERS) == stored
    again = json.loads(json.dumps(stored, allow_nan=False))
    assert again == stored
    graph = load(1, "w", 1, again)
    assert graph == load(1, "w", 1, stored)
    root = graph.root
    count = len(root.nodes)
    assert sorted(edge for leaving in root.out for edge in leaving) == list(range(len(root.edges)))
    assert all(root.edges[edge].source == node for node, leaving in enumerate(root.out) for edge in leaving)
    assert sum(root.indegree) == len(root.edges)
    assert root.starts
    assert all(root.indegree[start] == 0 for start in root.starts)
    before = closure([[root.edges[edge].target for edge in leaving] for leaving in root.out])
    for node in root.nodes:
        assert json.loads(node.spec.config) == stored["nodes"][node.index]["config"]
        for read in reads(node):
            assert node.index in before[read], "what a node reads is an ancestor"
        assert all(root.nodes[read.slot].type == "set_variable" for read in node.needs_vars)
    given = [reads(node) for node in root.nodes]
    assert list(root.consumers) == [sum(index in each for each in given) for index in range(count)]


def reads(node: Node) -> set[int]:
    return {read.slot for read in (*node.needs_nodes, *node.needs_vars, *node.needs_inputs)}


def closure(out: list[list[int]]) -> list[set[int]]:
    """For each node, what can be reached from it over one edge or more: slow and obvious."""
    reach = [set(targets) for targets in out]
    for _ in out:
        for node, found in enumerate(reach):
            for target in list(found):
                reach[node] |= reach[target]
    return reach


def check_answer(source: Any) -> None:
    try:
        stored = canonical(source, HANDLERS)
    except GraphInvalid as error:
        assert error.problems
        assert all("\n" not in str(problem) for problem in error.problems)
    else:
        check_accepted(stored)


@settings(max_examples=100, deadline=None)
@given(GARBAGE | VALUES)
def test_garbage_is_refused_or_becomes_canonical(source: Any) -> None:
    check_answer(source)


@settings(max_examples=100, deadline=None)
@given(NEARLY_RIGHT)
def test_a_nearly_right_graph_is_refused_or_becomes_canonical(source: Any) -> None:
    """Most garbage is refused while it is read; these get as far as types, configs, labels and shape."""
    check_answer(source)


@settings(max_examples=60, deadline=None)
@given(sound())
def test_a_sound_graph_is_stable_and_consistent(source: dict[str, Any]) -> None:
    try:
        stored = canonical(source, HANDLERS)
    except GraphInvalid as error:
        assert all("config reads the output of" in problem.message for problem in error.problems)
    else:
        check_accepted(stored)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 7).flatmap(lambda n: st.lists(st.lists(st.integers(0, n - 1), max_size=3), min_size=n, max_size=n))
)
def test_order_cycles_and_ancestors_agree_with_the_slow_way(out: list[list[int]]) -> None:
    out = [[target for target in targets if target != node] for node, targets in enumerate(out)]
    reach = closure(out)
    order = graph_order.topological(out)
    cycles = [graph_order.cycle_in(out, knot, min(knot)) for knot in graph_order.knots(out)]
    knotted = {node for node in range(len(out)) if node in reach[node]}
    assert (len(order) < len(out)) == bool(knotted) == bool(cycles)
    assert graph_order.reachable(out, 0) == {0} | reach[0]
    for cycle in cycles:
        assert len(set(cycle)) == len(cycle) > 1
        assert all(b in out[a] for a, b in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    knots = {frozenset(other for other in reach[node] if node in reach[other]) for node in knotted}
    assert len(cycles) == len(knots)
    if not knotted:
        everything = frozenset(range(len(out)))
        found = graph_order.ancestors(out, order, dict.fromkeys(range(len(out)), everything), 1000)
        assert found == {node: [other for other in order if node in reach[other]] for node in range(len(out))}
        total = sum(map(len, found.values()))
        assert graph_order.ancestors(out, order, dict.fromkeys(range(len(out)), everything), total - 1) is None
