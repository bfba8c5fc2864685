"""What a node asks of the cluster: how it is written, what is stored, what is refused, and what it becomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dray.actors.pool.shapes import Asks, Shape, shape_of
from dray.actors.registry import HandlerSpec
from dray.cluster.errors import GraphInvalid
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.diff import diff, lines
from dray.cluster.graph.load import load
from dray.cluster.graph.written.resources import MAX_NAMES, MAX_SHAPES
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node, refused

DEFAULT = Shape(1.0)


def asking(resources: Any, node_type: str = "plain", **config: Any) -> dict[str, Any]:
    return graph([{**node("a", node_type, **config), "resources": resources}])


def stored(resources: Any) -> Any:
    found = canonical(asking(resources), HANDLERS)
    assert found["warnings"] == []
    assert canonical(found, HANDLERS) == found, "the canonical form comes out as it went in"
    return found["nodes"][0].get("resources")


def asks(resources: Any) -> Asks | None:
    return load(1, "w", 1, canonical(asking(resources), HANDLERS)).root.nodes[0].asks


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        ({}, None),
        ({"num_gpus": None}, None),
        ({"num_gpus": 1.0}, {"num_gpus": 1}),
        ({"num_gpus": 0}, {"num_gpus": 0}),
        ({"num_cpus": 0.5}, {"num_cpus": 0.5}),
        ({"num_cpus": 0, "num_gpus": 1}, {"num_cpus": 0, "num_gpus": 1}),
        ({"memory": "4GiB"}, {"memory": 4 << 30}),
        ({"memory": "512 Mi"}, {"memory": 512 << 20}),
        ({"memory": "2G"}, {"memory": 2 << 30}),
        ({"memory": 1 << 30}, {"memory": 1 << 30}),
        ({"resources": {"licence": 1.0, "TPU-v4": 0.5}}, {"resources": {"licence": 1, "TPU-v4": 0.5}}),
        (
            {"label_selector": {"zone": "in(a, b)", "ray.io/market-type": "!spot"}},
            {"label_selector": {"zone": "in(a, b)", "ray.io/market-type": "!spot"}},
        ),
        ({"num_cpus": 2, "concurrency": 4}, {"num_cpus": 2, "concurrency": 4}),
    ],
)
def test_resources_are_stored_in_one_form(given: Any, found: Any) -> None:
    assert stored(given) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "node 'a': resources: must be an object, such as {num_gpus: 1}"),
        ({"num_cpus": 0}, "node 'a': resources: num_cpus must be 0.1 or more, or 0 beside num_gpus or resources"),
        ({"num_cpus": 0, "resources": {"x": 0}}, "node 'a': resources: num_cpus must be 0.1 or more"),
        ({"num_cpus": 0.01, "num_gpus": 1}, "node 'a': resources: num_cpus must be 0.1 or more"),
        ({"num_cpus": -1}, "node 'a': resources.num_cpus: Input should be greater than or equal to 0"),
        ({"num_cpus": True}, "node 'a': resources.num_cpus: must be a number, written out"),
        ({"num_gpus": "{{ input.n }}"}, "node 'a': resources.num_gpus: must be a number, written out"),
        ({"num_gpus": 1.5}, "node 'a': resources.num_gpus: above 1 it must be a whole number"),
        ({"num_gpus": 0.00001}, "node 'a': resources.num_gpus: Ray counts nothing smaller than 0.0001"),
        ({"num_gpus": 1e300}, "node 'a': resources.num_gpus: Input should be less than"),
        ({"memory": "much"}, "node 'a': resources.memory: must be bytes"),
        ({"memory": 1.5}, "node 'a': resources.memory: must be bytes"),
        ({"memory": 0}, "node 'a': resources.memory: Input should be greater than or equal to 1048576"),
        ({"gpus": 1}, "node 'a': resources: has no key 'gpus': did you mean num_gpus?"),
        ({"GPU": 1}, "node 'a': resources: has no key 'GPU': did you mean num_gpus?"),
        ({"licence": 1}, "node 'a': resources: has no key 'licence': one of the cluster's own goes into resources"),
        ({"runtime_env": {"pip": ["x"]}}, "node 'a': resources: runtime_env is not for graphs"),
        ({"resources": {"GPU": 1}}, "node 'a': resources.resources: GPU is Ray's own: write num_gpus"),
        ({"resources": {"node:__internal_head__": 1}}, "node 'a': resources.resources: 'node:__internal_head__' is no"),
        ({"resources": {"x": -1}}, "node 'a': resources.resources.x: Input should be greater than or equal to 0"),
        ({"resources": {f"r{n}": 1 for n in range(MAX_NAMES + 1)}}, "node 'a': resources.resources: Dictionary should"),
        ({"label_selector": {"zone": "a b"}}, "node 'a': resources.label_selector: 'a b' selects no label"),
        ({"label_selector": {"zone": "in()"}}, "node 'a': resources.label_selector: 'in()' selects no label"),
        ({"label_selector": {"-zone": "a"}}, "node 'a': resources.label_selector: '-zone' is no name of a label"),
        ({"label_selector": {"zone": 1}}, "node 'a': resources.label_selector.zone: Input should be a valid string"),
        ({"concurrency": 0}, "node 'a': resources.concurrency: Input should be greater than or equal to 1"),
    ],
)
def test_what_ray_could_not_do_is_refused_with_node_and_field(given: Any, message: str) -> None:
    [problem] = refused(asking(given))
    assert problem.startswith(message)


def test_only_nodes_that_runners_run_can_ask() -> None:
    [problem] = refused(asking({"num_gpus": 1}, "trigger"))
    assert problem == "node 'a': resources: no runner runs a node of type 'trigger': remove them"
    looped = graph(
        [{**node("a", "repeat", repeat_count=2), "resources": {"num_gpus": 1}}, node("b")],
        [edge("a", "b", "body"), edge("b", "a")],
    )
    assert refused(looped) == ["node 'a': resources: a loop only counts its turns: give them to nodes of its body"]


def test_one_workflow_asks_for_so_many_shapes_at_most() -> None:
    def asks_for(count: int) -> dict[str, Any]:
        return graph([{**node(f"n{n}"), "resources": {"num_cpus": n % count + 1}} for n in range(2 * MAX_SHAPES + 2)])

    assert len(canonical(asks_for(MAX_SHAPES), HANDLERS)["nodes"]) == 2 * MAX_SHAPES + 2
    [problem] = refused(asks_for(MAX_SHAPES + 1))
    assert problem.startswith(f"graph: its nodes ask for {MAX_SHAPES + 1} different resources")


def test_an_inline_config_keeps_no_resources_for_itself() -> None:
    found = canonical(graph([{"id": "a", "type": "plain", "x": 1, "resources": {"num_gpus": 1}}]), HANDLERS)
    assert found["nodes"][0]["config"] == {"x": 1}
    assert found["nodes"][0]["resources"] == {"num_gpus": 1}


def test_the_driver_reads_what_was_stored() -> None:
    assert asks(None) is None
    assert asks({"num_gpus": 1}) == Asks(num_gpus=1)
    given = {"memory": "1GiB", "resources": {"b": 1, "a": 2}, "label_selector": {"z": "!a"}, "concurrency": 3}
    assert asks(given) == Asks(None, None, 1 << 30, (("a", 2), ("b", 1)), (("z", "!a"),), 3)


def test_a_node_overrides_its_handler_field_by_field() -> None:
    handler = HandlerSpec("t", print, num_gpus=1, memory=7, label_selector={"zone": "a"})
    declared = shape_of(handler, DEFAULT)
    assert shape_of(handler, DEFAULT, None) == declared == Shape(1.0, 1, 7, labels=(("zone", "a"),))
    assert shape_of(handler, DEFAULT, Asks(num_cpus=4)) == declared._replace(num_cpus=4, at_once=1)
    assert shape_of(handler, DEFAULT, Asks(num_gpus=0, labels=())) == Shape(1.0, memory=7, at_once=1)
    assert shape_of(None, DEFAULT, Asks(resources=(("r", 1),), at_once=9)) == Shape(
        1.0, resources=(("r", 1),), at_once=9
    )


def test_a_difference_is_shown() -> None:
    nodes = [node("a"), node("b")]
    old = canonical(graph(nodes, chain("a", "b")), HANDLERS)
    new = canonical(graph([{**nodes[0], "resources": {"num_gpus": 1}}, nodes[1]], chain("a", "b")), HANDLERS)
    assert list(lines(diff(old, new))) == ["~ node a", "    resources.num_gpus: nothing -> 1"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(["num_cpus", "num_gpus", "memory", "resources", "label_selector", "concurrency", "x"])


@given(st.recursive(SCALARS, lambda each: st.dictionaries(KEYS, each, max_size=4)))
def test_anything_is_stored_or_refused(given: Any) -> None:
    try:
        found = stored(given)
    except GraphInvalid:
        return
    assert found is None or asks(found) is not None
