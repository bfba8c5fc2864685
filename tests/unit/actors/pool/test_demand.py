"""How many runners there are when the pool follows demand, and which of them go."""

from __future__ import annotations

from dray.actors.pool.demand import PATIENCE, Demand, Sizes
from dray.actors.pool.pool import RunnerInfo, RunnerReady, Shape
from tests.unit.actors.pool.harness import PoolHarness


def pool(least: int = 0, most: int = 4, idle: float = 30.0, busy: int = 2) -> PoolHarness:
    found = PoolHarness(size=most, slots=8, least=least, busy=busy, idle=idle)
    return found.start()


def place(pool: PoolHarness, number: int, node: str) -> None:
    pool.handle(RunnerReady(number, RunnerInfo(f"runner-{number}", node, "host", number)))
    pool.pool.admit(number, 100 + number)
    pool.runners[number].collects += 0
    pool.flush()


def stays(pool: PoolHarness) -> set[int]:
    return {each["runner"] for each in pool.pool.runners() if not each["leaving"]}


def test_needed_at_once_where_there_is_none_and_after_a_while_where_there_are_some() -> None:
    demand = Demand(Sizes(0, 10, 60.0, 5), patience=1.0)
    assert demand.update(0, 0.0) == 0
    assert demand.update(6, 0.0) == 2
    assert demand.update(50, 1.0) == 2, "a burst"
    assert demand.update(10, 1.5) == 2
    assert demand.update(50, 2.0) == 2
    assert demand.update(60, 3.0) == 10, "at most"


def test_fewer_only_after_a_time_in_which_fewer_were_enough() -> None:
    demand = Demand(Sizes(1, 10, 60.0, 1))
    assert demand.update(8, 0.0) == 8
    assert demand.update(2, 10.0) == 8
    assert demand.update(5, 40.0) == 8
    assert demand.update(0, 69.9) == 8
    assert demand.update(0, 70.0) == 5, "the most that were needed meanwhile"
    assert demand.update(8, 80.0) == 8
    assert demand.update(0, 100.0) == 8
    assert demand.update(8, 159.0) == 8
    assert demand.update(0, 161.0) == 8, "the time starts anew"
    assert demand.update(0, 221.0) == 1, "at least"


def test_a_fixed_number_stays() -> None:
    demand = Demand(Sizes(3, 3, 60.0, 1))
    assert {demand.update(nodes, now) for nodes, now in ((0, 0.0), (99, 100.0), (0, 200.0), (0, 999.0))} == {3}


def test_from_none_to_the_most_and_back() -> None:
    p = pool()
    assert not p.runners
    p.add(3)
    assert len(p.runners) == 2
    p.admit_new()
    assert sorted(p.loads.values()) == [1, 2], "no more than keeps it busy, since others may come"
    p.add(20)
    p.tick(PATIENCE)
    assert len(p.runners) == 4
    p.admit_new()
    assert p.pool.waiting == 0, "all are there: the rest is sent ahead"
    for number in list(p.runners):
        p.done(number)
    p.tick(29)
    assert len(p.loads) == 4
    p.tick(2)
    p.tick(1)
    assert len(p.loads) == 0


def test_the_least_are_there_from_the_start_and_stay() -> None:
    p = pool(least=2)
    assert len(p.runners) == 2
    p.tick(500)
    assert len(p.loads) == 2


def test_a_runner_that_is_not_needed_ends_its_nodes_first() -> None:
    p = pool(least=0, most=2, busy=2)
    p.add(4)
    p.admit_new()
    p.done(1, p.runners[1].tasks[0])
    p.done(2, p.runners[2].tasks[0])
    p.tick(400)
    assert len(stays(p)) == 1
    assert len(p.loads) == 2, "both have a node, however long it takes"
    [goes] = {1, 2} - stays(p)
    p.add(1)
    assert p.loads[goes] == 1, "it gets no more"
    p.done(goes)
    p.tick(1)
    assert goes not in p.loads
    assert len(p.runners) == 2, "and is not replaced"


def test_one_that_leaves_is_called_back_before_another_is_started() -> None:
    p = pool(least=0, most=2, busy=2)
    p.add(4)
    p.admit_new()
    p.done(1, p.runners[1].tasks[0])
    p.done(2, p.runners[2].tasks[0])
    p.tick(40)
    assert len(stays(p)) == 1
    p.add(4)
    p.tick(PATIENCE)
    assert stays(p) == {1, 2}
    assert len(p.runners) == 2


def test_the_node_with_the_fewest_runners_is_emptied_first() -> None:
    p = PoolHarness(size=5, slots=4, least=0, busy=1, idle=30.0)
    p.pool.start()
    p.add(5)
    for number, node in enumerate(["a", "b", "a", "b", "a"], start=1):
        place(p, number, node)
    for number in (1, 2, 3, 4, 5):
        p.runners[number].answers = p.runners[number].collects
    for number in (2, 3):
        p.done(number)
    p.tick(33)
    assert stays(p) == {1, 3, 5}, "b is emptied, although 3 is idle and 4 is not"
    assert 2 not in p.loads
    assert p.loads[4] == 1
    p.done(4)
    p.tick(1)
    assert set(p.loads) == {1, 3, 5}


def test_those_without_a_place_go_before_those_with_one() -> None:
    p = pool(most=3, busy=1)
    p.add(3)
    place(p, 2, "a")
    p.cancel(2, 3)
    p.tick(40)
    assert set(p.loads) == {2}


def test_other_shapes_follow_too_up_to_the_most() -> None:
    p = pool(most=3)
    gpu = Shape(1.0, num_gpus=1)
    p.add(20, gpu)
    assert [each.shape for each in p.runners.values()] == [gpu] * 3


def test_what_does_not_start_is_told_every_minute_with_the_shape() -> None:
    told: list[tuple[Shape, int, float]] = []
    p = PoolHarness(size=2, on_stuck=lambda *what: told.append(what)).start()
    rare = Shape(1.0, resources=(("quantum", 1.0),), labels=(("zone", "moon"),))
    p.add(5, rare)
    p.tick(30)
    assert told == []
    p.tick(200)
    assert [(shape, runners, round(seconds, -1)) for shape, runners, seconds in told] == [
        (rare, 2, 30.0), (rare, 2, 90.0), (rare, 2, 150.0), (rare, 2, 210.0),
    ]  # fmt: skip
    p.admit_new()
    p.tick(200)
    assert len(told) == 4


def test_one_runner_is_started_to_see_whether_they_start_here() -> None:
    p = pool()
    p.pool.default.prove()
    p.tick(70)
    assert len(p.runners) == 1, "for as long as it takes"
    assert not p.pool.default.proved
    p.admit_new()
    assert p.pool.default.proved
    p.tick(70)
    assert p.loads == {}, "idle, it goes"
    assert p.pool.default.proved, "none is wanted, so none is missing"


def test_runners_that_do_not_start_any_more_are_a_doubt_and_then_a_lack() -> None:
    p = PoolHarness(size=1).start()
    p.lose(1)
    p.add(1)
    p.tick(9)
    assert p.pool.default.proved, "it is replaced"
    p.tick(2)
    assert not p.pool.default.proved
    assert not p.pool.default.lacks(p.now)
    p.tick(60)
    assert p.pool.default.lacks(p.now)
    p.admit_new()
    p.tick(1)
    assert (p.pool.default.proved, p.pool.default.lacks(p.now)) == (True, False)


def test_the_last_reason_is_told() -> None:
    p = PoolHarness(size=1)
    p.pool.start()
    p.lose(1)
    assert p.pool.default.trouble == "gone"
