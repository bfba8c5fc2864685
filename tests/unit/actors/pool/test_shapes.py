"""Shapes that graphs ask for: how many nodes a runner of theirs takes, and whose turn it is where there are many."""

from __future__ import annotations

from typing import Any

from dray.actors.pool.line import SLOW_START
from dray.actors.pool.pool import Shape
from dray.actors.pool.turns import TURN
from tests.unit.actors.pool.harness import DEFAULT, PoolHarness


def shape(number: int, at_once: int = 1) -> Shape:
    return Shape(1.0, memory=number + 1, at_once=at_once)


def pool(shapes: int = 2, idle: float = 60.0, **options: Any) -> PoolHarness:
    return PoolHarness(size=2, slots=8, busy=4, idle=idle, shapes=shapes, **options).start()


def with_runners(pool: PoolHarness) -> set[Shape]:
    return {each.shape for each in pool.runners.values() if not each.kills} - {DEFAULT}


def runner_of(pool: PoolHarness, wanted: Shape) -> int:
    [number] = [number for number, each in pool.runners.items() if each.shape == wanted and not each.kills]
    return number


def test_a_runner_takes_as_many_nodes_as_the_graph_says() -> None:
    p = pool()
    p.add(3, shape(0))
    p.add(3, shape(1, at_once=3))
    for number in p.admit_new():
        assert p.loads[number] == (1 if p.runners[number].shape == shape(0) else 3)
    assert [each.shape for each in p.runners.values()].count(shape(0)) == 2, "the most"
    assert p.pool.waiting == 1


def test_a_shape_that_nobody_asks_for_any_more_is_forgotten() -> None:
    p = pool(idle=30.0)
    for number in range(5):
        p.add(1, shape(number))
        [runner] = p.admit_new()
        p.done(runner)
        p.tick(35)
        assert with_runners(p) == set()
    assert len(list(p.pool._lines)) == 1


def test_more_shapes_than_allowed_wait_for_one_that_has_nothing_to_do() -> None:
    p = pool(shapes=2)
    p.add(1, shape(0))
    p.add(1, shape(1))
    p.add(1, shape(2))
    assert with_runners(p) == {shape(0), shape(1)}
    p.admit_new()
    p.tick(10)
    assert with_runners(p) == {shape(0), shape(1)}
    p.done(runner_of(p, shape(0)))
    p.tick(3)
    assert with_runners(p) == {shape(1), shape(2)}, "it does not wait until the idle one has been idle for long"
    p.admit_new()
    assert p.pool.waiting == 0


def test_shapes_that_the_cluster_never_has_keep_no_other_from_its_turn() -> None:
    p = pool(shapes=2)
    for number in range(2):
        p.add(5, shape(number))
    p.add(1, shape(2))
    p.tick(TURN - 5)
    assert with_runners(p) == {shape(0), shape(1)}
    p.tick(10)
    assert shape(2) in with_runners(p)
    p.admit(runner_of(p, shape(2)))
    p.done(runner_of(p, shape(2)))
    p.tick(3)
    assert with_runners(p) == {shape(0), shape(1)}, "and they are back"


def test_nodes_that_run_are_ended_before_their_shape_gives_way() -> None:
    p = pool(shapes=1)
    [long] = p.add(1, shape(0))
    p.admit_new()
    p.add(1, shape(1))
    p.add(1, shape(0))
    p.tick(TURN + 5)
    assert with_runners(p) == {shape(0)}
    assert p.loads[runner_of(p, shape(0))] == 1, "it is not its turn any more, so it gets no other"
    news = p.done(runner_of(p, shape(0)), long)
    assert [result.id for _, result in news.results] == [long]
    p.tick(3)
    assert with_runners(p) == {shape(1)}
    p.admit_new()
    p.done(runner_of(p, shape(1)))
    p.tick(3)
    assert with_runners(p) == {shape(0)}


def test_it_stays_when_the_others_have_gone() -> None:
    p = pool(shapes=1)
    p.add(1, shape(0))
    p.admit_new()
    waiting = p.add(1, shape(1))
    p.tick(TURN + 5)
    p.cancel(*waiting)
    more = p.add(2, shape(0))
    p.tick(3)
    p.admit_new()
    assert with_runners(p) == {shape(0)}
    assert p.pool.waiting == 1, "another runner came for one of them"
    p.cancel(*more)


def test_shapes_of_handlers_and_the_plain_one_take_no_turns() -> None:
    p = pool(shapes=1)
    handlers = [Shape(1.0, num_gpus=number) for number in (1, 2, 3)]
    p.add(1, shape(0))
    for each in handlers:
        p.add(1, each)
    p.add(4)
    assert with_runners(p) == {shape(0), *handlers}
    assert p.pool.waiting == 4


def test_a_suspect_of_a_graphs_shape_takes_a_turn_too() -> None:
    p = pool(shapes=1)
    p.add(1, shape(0))
    p.add(1, shape(1).alone())
    assert with_runners(p) == {shape(0)}


def test_what_is_waited_for_is_told() -> None:
    p = pool(shapes=1)
    p.add(2, shape(0, at_once=2))
    p.add(1, shape(1))
    p.tick(SLOW_START)
    [first, second] = p.pool.short()
    assert first[0].startswith("1 CPU, memory")
    assert (first[1], second[1]) == (2, 1)
    p.admit_new()
    p.tick(1)
    assert [nodes for _, nodes, _ in p.pool.short()] == [1]


def test_after_a_crash_a_forgotten_shape_is_not_started_at_once() -> None:
    p = pool(idle=5.0)
    for _ in range(4):
        p.add(1, shape(0))
        p.tick(3)
        for number in p.admit_new():
            p.lose(number)
    started = len(p.runners)
    p.tick(0.1)
    assert len(p.runners) == started


def test_drained_no_shape_gets_its_turn() -> None:
    p = pool(shapes=1)
    p.add(1, shape(0))
    p.add(1, shape(1))
    p.pool.drain()
    p.tick(2 * TURN)
    assert shape(1) not in with_runners(p)
