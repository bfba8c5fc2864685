"""Runners that die, fall silent or must be retired: what becomes of their nodes, and when they are replaced."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest

from dray.actors.pool.pool import Collected, RunnerLost, Shape
from tests.unit.actors.pool.harness import NOTHING, PoolHarness


@pytest.fixture
def pool() -> PoolHarness:
    return PoolHarness().start()


def starts(pool: PoolHarness, seconds: float) -> list[float]:
    """When runners are started in the next seconds, if all die as soon as they are ready."""
    began, found = pool.now, []
    while pool.now < began + seconds:
        for number in pool.admit_new():
            found.append(round(pool.now - began, 1))
            pool.lose(number)
        pool.tick(0.1, step=0.1)
    return found


def test_a_lost_runner_gives_its_nodes_back_once_and_nobody_elses(pool: PoolHarness) -> None:
    pool.add(6)
    given = list(pool.runners[1].tasks)
    news = pool.lose(1)
    assert news == NOTHING._replace(lost=[(each, "gone", True) for each in given], ended=[(101, "gone")])
    assert pool.told_of == 101, "so that its nodes' attempts name it"
    assert pool.lose(1) == NOTHING
    assert pool.pool.in_flight == 3
    assert len(pool.done(2).results) == 3


@pytest.mark.parametrize("crash", [True, False])
def test_a_planned_end_is_no_crash(pool: PoolHarness, crash: bool) -> None:
    pool.add(1)
    assert [each[2] for each in pool.lose(1, crash).lost] == [crash]


def test_what_waits_is_not_lost(pool: PoolHarness) -> None:
    ids = pool.add(12)
    lost = [each for each, _, _ in pool.lose(1).lost]
    assert len(lost) == 4
    [new] = pool.admit_new()
    assert pool.runners[new].tasks == ids[8:]


def test_a_runner_lost_before_it_was_known_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    pool = PoolHarness(size=1)
    pool.pool.start()
    with caplog.at_level(logging.WARNING, "dray.pool"):
        assert pool.handle(RunnerLost(1, "cannot load handlers from 'shop'", crash=False)) == NOTHING
    [record] = caplog.records
    assert record.__dict__["fields"]["reason"] == "cannot load handlers from 'shop'", "nobody else would tell"


# Replacing


def test_an_old_runner_is_replaced_at_once(pool: PoolHarness) -> None:
    pool.tick(60)
    for number in (1, 2):
        pool.lose(number)
    assert pool.admit_new() == [3, 4]


def test_young_deaths_in_a_row_are_followed_by_growing_pauses() -> None:
    pool = PoolHarness(size=1).start()
    pool.lose(1)
    assert starts(pool, 12) == pytest.approx([0, 0.5, 1.5, 3.5, 5.5, 7.5, 9.5, 11.5], abs=0.35), (
        "at most 2 s: some node did it"
    )


def test_runners_that_never_get_ready_are_started_more_and_more_seldom() -> None:
    pool = PoolHarness(size=1)
    pool.pool.start()
    died = []
    while pool.now < 1_000 + 200:
        alive = [each for each in pool.runners.values() if not each.kills]
        for runner in alive:
            died.append(round(pool.now - 1_000))
            pool.handle(RunnerLost(runner.number, "cannot load handlers", crash=False))
        pool.tick(0.5, step=0.5)
    gaps = [later - earlier for earlier, later in pairwise(died)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 1
    assert gaps[-1] == 30


def test_several_that_die_together_count_as_one() -> None:
    pool = PoolHarness(size=8).start()
    for number in range(1, 9):
        pool.lose(number)
    assert len(pool.admit_new()) == 8
    for number in range(9, 17):
        pool.lose(number)
    assert not pool.admit_new()
    pool.tick(0.5, step=0.5)
    assert len(pool.admit_new()) == 8


def test_wake_at_says_when_the_next_start_is_due(pool: PoolHarness) -> None:
    assert pool.pool.wake_at() is None
    pool.lose(1)
    pool.admit_new()
    pool.lose(3)
    due = pool.pool.wake_at()
    assert due == pool.now + 0.5
    pool.now = due
    pool.tick()
    assert pool.pool.wake_at() is None
    assert pool.admit_new() == [4]


def test_a_long_life_ends_the_row(pool: PoolHarness) -> None:
    for number in (1, 3, 4):
        pool.lose(number)
        pool.tick(2)
        pool.admit_new()
    pool.tick(30)
    pool.lose(2)
    assert len(pool.admit_new()) == 1


def test_a_runner_of_another_shape_is_replaced_too(pool: PoolHarness) -> None:
    pool.add(1, Shape(1.0, num_gpus=1))
    [new] = pool.admit_new()
    pool.lose(new)
    assert pool.runners[pool.admit_new()[0]].shape == Shape(1.0, num_gpus=1)


# Retiring


def test_a_retiring_runner_ends_what_it_has_and_is_replaced_meanwhile(pool: PoolHarness) -> None:
    pool.add(8)
    hung, *others = pool.runners[1].tasks
    assert len(pool.done(1, hung, retiring="e/n hangs").results) == 1
    assert not pool.runners[1].kills
    [new] = pool.admit_new()
    pool.add(1)
    assert (pool.loads[1], pool.loads[new]) == (3, 1), "no new node for the old one"
    news = pool.done(1, retiring="e/n hangs")
    assert [result.id for _, result in news.results] == others
    assert news.ended == [(101, "e/n hangs")]
    assert pool.runners[1].kills
    assert len(pool.loads) == 2


def test_a_retiring_runner_with_nothing_to_do_ends_at_once(pool: PoolHarness) -> None:
    [task] = pool.add()
    assert pool.done(1, task, retiring="e/n hangs").ended == [(101, "e/n hangs")]
    assert pool.runners[1].kills
    assert pool.admit_new() == [3]


def test_nodes_that_do_not_end_with_a_retiring_runner_are_lost_without_a_crash(pool: PoolHarness) -> None:
    pool.add(6, timeout=20.0)
    hung, *others = pool.runners[1].tasks
    pool.done(1, hung, retiring="e/n hangs")
    assert pool.tick(49) == []
    [news] = pool.tick(3)
    assert [(each, crash) for each, _, crash in news.lost] == [(each, False) for each in others]
    assert news.ended[0][0] == 101
    assert pool.runners[1].kills
    assert pool.pool.in_flight == 3


def test_a_retiring_runner_that_dies_is_not_replaced_twice(pool: PoolHarness) -> None:
    pool.add(4)
    pool.done(1, pool.runners[1].tasks[0], retiring="e/n hangs")
    pool.admit_new()
    assert len(pool.lose(1).lost) == 1
    pool.tick(60)
    assert len(pool.loads) == 2


# Silence


def test_a_silent_runner_gets_nothing_until_it_answers(pool: PoolHarness) -> None:
    pool.add(2)
    collects = pool.runners[1].collects
    pool.handle(Collected(1, [], silent=True))
    pool.mute = {1}
    pool.add(3)
    assert pool.loads == {1: 1, 2: 4}
    assert pool.runners[1].collects == collects, "its handle asks by itself"
    assert pool.tick(100) == []
    pool.handle(Collected(1, []))
    pool.add(1)
    assert pool.loads == {1: 2, 2: 4}
    assert pool.runners[1].collects == collects + 1


def test_a_runner_that_does_not_answer_is_lost(pool: PoolHarness) -> None:
    pool.add(2)
    waiting = list(pool.runners[1].tasks)
    pool.mute = {1}
    assert pool.tick(70) == []
    [news] = pool.tick(1)
    assert [(each, crash) for each, _, crash in news.lost] == [(each, True) for each in waiting]
    assert "did not answer for 71 s" in news.ended[0][1]
    assert pool.runners[1].kills
    assert len(pool.admit_new()) == 1


def test_a_driver_that_slept_does_not_blame_its_runners(pool: PoolHarness) -> None:
    pool.add(2)
    pool.mute = {1, 2}
    pool.tick(1)
    pool.now += 10_000
    assert pool.tick(60) == []
    assert len(pool.tick(20)) == 2, "but from then on it waits no longer than usual"


def test_a_handle_that_only_answers_with_results_is_never_silent(pool: PoolHarness) -> None:
    pool.add(2)
    pool.mute = {1, 2}
    for runner in pool.runners.values():
        runner.answers_within = None
    assert pool.tick(1_000) == []


def test_a_runner_that_does_not_start_is_told_every_minute(caplog: pytest.LogCaptureFixture) -> None:
    pool = PoolHarness(size=1)
    pool.pool.start()
    with caplog.at_level(logging.WARNING, "dray.pool"):
        pool.tick(200)
    assert [each.getMessage() for each in caplog.records] == [
        "runners do not start; has the cluster what they ask for?"
    ] * 3
    assert not pool.runners[1].kills, "the cluster may be growing"
