"""What a person is told of a cluster that has no place for a runner. Reading the cluster itself: tests/ray."""

from __future__ import annotations

from dray.actors.on_ray.offer import offered
from dray.actors.pool.pool import Shape
from dray.actors.pool.shapes import amounts, asked


def test_what_is_asked_for_and_what_is_there() -> None:
    shape = Shape(0.5, 1, 3 << 30, (("licence", 1.0),), labels=(("zone", "in(a,b)"),))
    assert asked(shape) == "0.5 CPU, 1 GPU, memory 3 GiB, 1 licence, label zone=in(a,b)"
    assert asked(Shape(0.0)) == "nothing"


def test_what_ray_counts_for_itself_is_left_out() -> None:
    assert amounts({"node:10.0.0.1": 1.0, "object_store_memory": 5.0, "CPU": 2.0, "GPU": 0.0}) == "2 CPU"


def test_nodes_that_are_alike_are_counted() -> None:
    node = {"Resources": {"CPU": 2.0}, "Labels": {"zone": "a"}}
    other = {"Resources": {"CPU": 2.0}, "Labels": {}}
    shape = Shape(1.0, labels=(("zone", "a"),))
    assert offered([node, node, other], shape) == "2 x (2 CPU, label zone=a); 1 x (2 CPU, label zone=)"
    assert offered([], shape) == "none"
