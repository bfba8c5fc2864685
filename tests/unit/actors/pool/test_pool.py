"""Which runner gets which node, and what comes back. Runners that fail: test_pool_losses.py."""

from __future__ import annotations

import random

import pytest

from dray.actors.context import NodeContext
from dray.actors.messages import FailureType, NodeFailure, NodeResult, NodeSpec, NodeTask
from dray.actors.pool.pool import ASK_IDLE, Collected, News, RunnerInfo, RunnerReady, Shape, shape_of
from dray.actors.registry import HandlerSpec
from tests.unit.actors.pool.harness import DEFAULT, NOTHING, PoolHarness


@pytest.fixture
def pool() -> PoolHarness:
    return PoolHarness().start()


# Starting


def test_start_makes_all_runners_of_the_default_shape() -> None:
    pool = PoolHarness(size=3)
    pool.pool.start()
    assert [each.shape for each in pool.runners.values()] == [DEFAULT] * 3
    assert pool.pool.capacity == 12


def test_only_a_runner_that_the_database_knows_gets_nodes() -> None:
    pool = PoolHarness(size=1)
    pool.pool.start()
    pool.add(2)
    info = RunnerInfo("r", "n", "h", 1)
    assert pool.handle(RunnerReady(1, info)) == NOTHING._replace(ready=[(1, info)])
    pool.flush()
    assert (pool.loads, pool.pool.waiting, pool.pool.in_flight) == ({1: 0}, 2, 0)
    pool.pool.admit(1, 77)
    pool.flush()
    assert (pool.loads, pool.pool.waiting, pool.pool.in_flight) == ({1: 2}, 0, 2)
    assert [db_id for db_id, _ in pool.done(1).results] == [77, 77]


def test_admitting_a_runner_that_is_gone_does_nothing(pool: PoolHarness) -> None:
    pool.pool.admit(99, 1)
    pool.flush()


# Giving out


def test_nodes_go_to_the_runner_with_the_fewest(pool: PoolHarness) -> None:
    pool.add(2)
    assert pool.loads == {1: 1, 2: 1}
    pool.done(2)
    pool.add(1)
    assert pool.loads == {1: 1, 2: 1}
    pool.add(3)
    assert pool.loads == {1: 3, 2: 2}


def test_a_new_runner_is_filled_first(pool: PoolHarness) -> None:
    pool.add(4)
    pool.lose(1)
    [new] = pool.admit_new()
    pool.add(2)
    assert pool.loads == {2: 2, new: 2}


def test_what_finds_no_slot_waits_in_order(pool: PoolHarness) -> None:
    ids = pool.add(11)
    assert pool.loads == {1: 4, 2: 4}
    assert (pool.pool.waiting, pool.pool.in_flight) == (3, 8)
    first = pool.runners[1].tasks[0]
    pool.done(1, first)
    pool.flush()
    assert pool.runners[1].tasks[-1] == ids[8]
    pool.done(2)
    pool.flush()
    assert pool.runners[2].tasks == ids[9:]


def test_one_call_per_runner_and_turn_with_each_spec_once(pool: PoolHarness) -> None:
    for number in range(8):
        spec = NodeSpec(f"1:{number % 2}", "noop", "{}")
        pool.pool.add(spec, NodeTask(number, spec.key, "e", "a", 1, 60.0), DEFAULT)
    pool.flush()
    for runner in pool.runners.values():
        [(specs, tasks)] = runner.calls
        assert len(tasks) == 4
        assert sorted(spec.key for spec in specs) == sorted({task.spec for task in tasks})


def test_a_turn_with_nothing_to_do_calls_nobody(pool: PoolHarness) -> None:
    collects = pool.runners[1].collects
    pool.flush()
    assert not pool.runners[1].calls
    assert pool.runners[1].collects == collects


def test_batches_are_cut_to_what_ray_sends_inline() -> None:
    pool = PoolHarness(size=1, slots=100).start()
    pool.add(20, input="x" * 20_000)
    sizes = [len(tasks) for _, tasks in pool.runners[1].calls]
    assert sizes == [4, 4, 4, 4, 4]
    assert all([spec.key for spec in specs] == ["1:a"] for specs, _ in pool.runners[1].calls), "each brings its specs"


@pytest.mark.parametrize("field", ["nodes", "inputs", "variables"])
def test_whatever_is_large_counts(field: str) -> None:
    pool = PoolHarness(size=1, slots=100).start()
    text = "x" * 60_000
    pool.add(3, **{field: (text,) if field == "variables" else (("a", text),)})
    assert [len(tasks) for _, tasks in pool.runners[1].calls] == [1, 1, 1]


def test_a_large_config_counts_once() -> None:
    pool = PoolHarness(size=1, slots=100).start()
    spec = NodeSpec("1:large", "noop", "x" * 60_000)
    for number in range(50):
        pool.pool.add(spec, NodeTask(number, spec.key, "e", "a", 1, 60.0), DEFAULT)
    pool.flush()
    assert [len(tasks) for _, tasks in pool.runners[1].calls] == [50]


# What comes back


def test_results_come_with_the_runners_database_id(pool: PoolHarness) -> None:
    one, two = pool.add(2)
    assert pool.done(1).results == [(101, NodeResult(one, "1"))]
    assert pool.done(2).results == [(102, NodeResult(two, "1"))]
    assert pool.pool.in_flight == 0


def test_a_result_counts_once(pool: PoolHarness) -> None:
    [task] = pool.add()
    assert len(pool.done(1, task).results) == 1
    assert pool.done(1, task) == NOTHING
    assert pool.done(2, task, 99) == NOTHING


def test_a_runner_is_asked_again_at_the_end_of_the_turn(pool: PoolHarness) -> None:
    before = pool.runners[1].collects
    [task, *_] = pool.add(4)
    pool.done(1, task)
    assert pool.runners[1].collects == before
    pool.flush()
    assert pool.runners[1].collects == before + 1


def test_a_runner_without_nodes_is_asked_along_with_the_next_batch_or_a_little_later(pool: PoolHarness) -> None:
    before = pool.runners[1].collects
    pool.add(4)
    pool.done(1)
    pool.flush()
    assert pool.runners[1].collects == before
    assert pool.pool.wake_at() == pool.now + ASK_IDLE
    pool.add(1)
    assert pool.runners[1].collects == before + 1
    pool.done(1)
    pool.now += ASK_IDLE
    pool.flush()
    assert pool.runners[1].collects == before + 2


def test_results_of_a_runner_that_is_gone_are_dropped(pool: PoolHarness) -> None:
    [task] = pool.add()
    pool.lose(1)
    assert pool.handle(Collected(1, [NodeResult(task, "1")])) == NOTHING


def test_a_neighbours_victim_is_lost_without_a_crash(pool: PoolHarness) -> None:
    [task] = pool.add()
    news = pool.handle(Collected(1, [NodeResult(task, given_back="e/n blocks the event loop")]))
    assert news == NOTHING._replace(lost=[(task, "e/n blocks the event loop", False)])
    assert pool.pool.in_flight == 0


@pytest.mark.parametrize("named", list(FailureType))
def test_a_failure_is_one_whatever_its_type_is_called(pool: PoolHarness, named: str) -> None:
    """A finally hands on what it was given, so any type may come back as the failure of a handler."""
    [task] = pool.add()
    news = pool.fails(1, task, NodeFailure(named, "handed on", False))
    assert not news.lost
    assert [result.failure for _, result in news.results] == [NodeFailure(named, "handed on", False)]


# Cancelling


def test_what_waits_and_is_cancelled_is_never_sent(pool: PoolHarness) -> None:
    ids = pool.add(10)
    pool.cancel(*ids[8:])
    assert (pool.pool.waiting, pool.pool.in_flight) == (0, 8)
    pool.done(1)
    pool.done(2)
    pool.flush()
    assert pool.loads == {1: 0, 2: 0}


def test_what_runs_and_is_cancelled_is_told_and_its_result_dropped(pool: PoolHarness) -> None:
    ids = pool.add(4)
    pool.cancel(*ids)
    assert sorted(pool.runners[1].cancelled + pool.runners[2].cancelled) == ids
    assert pool.pool.in_flight == 0
    assert pool.done(1) == NOTHING
    assert pool.done(2) == NOTHING


def test_a_cancelled_node_takes_its_slot_until_it_ends(pool: PoolHarness) -> None:
    ids = pool.add(8)
    pool.cancel(*ids)
    pool.add(2)
    assert (pool.pool.waiting, pool.pool.in_flight) == (2, 0)
    pool.done(1)
    pool.flush()
    assert (pool.pool.waiting, pool.pool.in_flight) == (0, 2)


def test_cancelled_nodes_are_not_lost_with_their_runner(pool: PoolHarness) -> None:
    ids = pool.add(8)
    given = list(pool.runners[1].tasks)
    pool.cancel(given[0], 99)
    assert [each for each, _, _ in pool.lose(1).lost] == given[1:]
    assert len(ids) == 8


def test_cancelling_twice_tells_once(pool: PoolHarness) -> None:
    [task] = pool.add()
    pool.cancel(task)
    pool.cancel(task)
    assert pool.runners[1].cancelled == [task]


# Shapes


def gpu(context: NodeContext) -> None: ...


def test_shape_of_a_handler() -> None:
    assert shape_of(HandlerSpec("a", gpu), DEFAULT) is DEFAULT
    assert shape_of(HandlerSpec("a", gpu, num_gpus=1), DEFAULT) == Shape(1.0, 1)
    assert shape_of(HandlerSpec("a", gpu, num_cpus=0.5, memory=7), DEFAULT) == Shape(0.5, 0, 7)
    labelled = Shape(1.0, labels=(("zone", "b"),))
    assert shape_of(HandlerSpec("a", gpu, label_selector={"zone": "b"}), DEFAULT) == labelled
    assert labelled.alone() == Shape(0.0, solo=True, labels=(("zone", "b"),))
    many = HandlerSpec("a", gpu, num_cpus=0, resources={"b": 1, "a": 2})
    assert shape_of(many, DEFAULT) == Shape(0, resources=(("a", 2), ("b", 1)))


def test_another_shape_has_runners_when_it_is_needed(pool: PoolHarness) -> None:
    big = Shape(1.0, num_gpus=1)
    pool.add(1, big)
    assert [each.shape for each in pool.runners.values()] == [DEFAULT, DEFAULT, big]
    pool.add(1, big)
    assert len(pool.runners) == 3, "one is on its way, with slots for four"
    [new] = pool.admit_new()
    assert pool.loads == {1: 0, 2: 0, new: 2}
    pool.add(3, big)
    assert [each.shape for each in pool.runners.values()].count(big) == 2
    pool.add(20, big)
    assert [each.shape for each in pool.runners.values()].count(big) == 2, "at most as many as of the default"
    pool.admit_new()
    assert pool.loads == {1: 0, 2: 0, 3: 4, 4: 4}
    assert pool.pool.waiting == 17


def test_an_idle_runner_of_another_shape_is_ended(pool: PoolHarness) -> None:
    big = Shape(1.0, num_gpus=1)
    pool.add(1, big)
    [new] = pool.admit_new()
    pool.tick(120)
    assert not pool.runners[new].kills, "it is busy"
    pool.done(new)
    news = pool.tick(62)
    assert [each.ended for each in news] == [[(100 + new, "idle for 60 s")]]
    assert pool.runners[new].kills
    assert not pool.runners[1].kills, "those of the default shape stay"
    pool.tick(60)
    assert len(pool.runners) == 3, "and is not replaced"
    pool.add(1, big)
    assert len(pool.runners) == 4, "until it is needed again"


def test_a_suspect_gets_a_runner_of_its_own(pool: PoolHarness) -> None:
    alone = DEFAULT.alone()
    assert alone == Shape(0.0, solo=True)
    pool.add(3, alone)
    (only,) = pool.admit_new()
    assert pool.loads == {1: 0, 2: 0, only: 1}, "the others wait: only one of them can be to blame for a death"
    pool.done(only)
    pool.flush()
    assert pool.loads[only] == 1


def test_a_suspect_that_needs_what_is_rare_goes_back_among_the_others() -> None:
    rare = Shape(1.0, num_gpus=1)
    assert rare.alone() is rare


# Ending


def test_drain_lets_what_runs_end_and_starts_nothing(pool: PoolHarness) -> None:
    ids = pool.add(10)
    pool.pool.drain()
    pool.pool.check()
    assert (pool.pool.waiting, pool.pool.in_flight) == (0, 8)
    pool.done(1)
    pool.flush()
    assert pool.lose(2).lost
    pool.tick(60)
    assert len(pool.runners) == 2
    assert (pool.loads, pool.pool.in_flight, pool.pool.waiting) == ({1: 0}, 0, 0)
    assert len(ids) == 10


def test_stop_kills_all(pool: PoolHarness) -> None:
    pool.add(10)
    pool.pool.stop()
    pool.pool.check()
    assert all(each.kills for each in pool.runners.values())
    assert (pool.pool.waiting, pool.pool.in_flight) == (0, 0)
    assert pool.lose(1) == NOTHING
    pool.tick(60)
    assert len(pool.runners) == 2


def test_runners_for_people(pool: PoolHarness) -> None:
    pool.add(3)
    assert [(each["runner"], each["database_id"], each["nodes"]) for each in pool.pool.runners()] == [
        (1, 101, 2), (2, 102, 1),
    ]  # fmt: skip


# Everything at once


class Chaos:
    """Random adds, results, cancellations, deaths, retirements and passing time; check() after each.

    wanted: what must come back. seen: what has.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.pool = PoolHarness(size=3, slots=4).start()
        self.wanted: set[int] = set()
        self.seen: list[int] = []

    def take(self, *all_news: News) -> None:
        for news in all_news:
            self.seen.extend(result.id for _, result in news.results)
            self.seen.extend(task for task, _, _ in news.lost)

    def step(self) -> None:
        dice, pool = self.dice, self.pool
        alive = [each for each in pool.runners.values() if not each.kills]
        busy = [each for each in alive if each.tasks]
        what = dice.randrange(8)
        if what <= 1:
            shape = dice.choice([DEFAULT, DEFAULT, DEFAULT.alone(), Shape(1.0, num_gpus=1)])
            self.wanted.update(pool.add(dice.randrange(1, 6), shape))
        elif what <= 3 and busy:
            runner = dice.choice(busy)
            self.take(pool.done(runner.number, *dice.sample(runner.tasks, dice.randint(1, len(runner.tasks)))))
        elif what == 4 and self.wanted:
            gone = dice.choice(sorted(self.wanted))
            self.wanted -= {gone} - set(self.seen)
            pool.cancel(gone)
        elif what == 5 and alive and dice.random() < 0.5:
            self.take(pool.lose(dice.choice(alive).number, crash=dice.random() < 0.5))
        elif what == 6 and busy and dice.random() < 0.3:
            runner = dice.choice(busy)
            self.take(pool.done(runner.number, runner.tasks[0], retiring="tired", silent=dice.random() < 0.2))
        else:
            self.take(*pool.tick(dice.choice([0.1, 1.0, 5.0])))
            pool.admit_new()
        pool.flush()

    def finish(self) -> None:
        while self.pool.pool.waiting or self.pool.pool.in_flight:
            self.take(*self.pool.tick(40))
            self.pool.admit_new()
            for number, load in list(self.pool.loads.items()):
                if load:
                    self.take(self.pool.done(number))
            self.pool.flush()


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_every_node_comes_back_exactly_once(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(400):
        chaos.step()
    chaos.finish()
    assert sorted(chaos.seen) == sorted(chaos.wanted)
    assert len(chaos.wanted) > 100


def test_a_drain_keeps_what_has_to_run(pool: PoolHarness) -> None:
    running = pool.add(8)
    first, *others = pool.add(3)
    pool.pool.drain({first})
    pool.pool.check()
    assert pool.pool.waiting == 1
    pool.done(1)
    pool.flush()
    assert pool.runners[1].tasks == [first]
    assert first not in running
    assert pool.pool.waiting == 0
    assert not set(others) & set(pool.runners[1].tasks + pool.runners[2].tasks)


def test_cancelled_nodes_of_a_line_that_nobody_serves_are_forgotten(pool: PoolHarness) -> None:
    stuck = Shape(1.0, num_gpus=1.0)
    ids = pool.add(1_000, shape=stuck)
    pool.cancel(*ids[:990])
    assert len(pool.pool._lines[stuck].waiting) < 150
    assert pool.pool.waiting == 10
    assert pool.pool.backlog == 0
