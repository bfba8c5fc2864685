"""The same pool on threads of this process. No Ray, but beside it, to show that both keep the same promises."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dray.actors.pool.local import local_runners
from dray.actors.registry import load_handlers
from tests.ray.conftest import HANDLERS, LivePool

Make = Callable[..., LivePool]


@pytest.fixture
def pool(make_pool: Make) -> LivePool:
    load_handlers([HANDLERS])
    return make_pool(local_runners(8, 1 << 20))


def test_results_come_back(pool: LivePool) -> None:
    assert pool.run("ray.echo", '{"a": "{{ input }}"}', input="1")[0].output == '{"a":1}'
    assert pool.run("ray.noop_async")[0].output == '{"x":1}'
    assert {each.name for each in pool.infos.values()} == {"local-runner-1", "local-runner-2"}


def test_ten_thousand_nodes(pool: LivePool) -> None:
    assert len(pool.run("ray.noop", count=10_000)) == 10_000


def test_cancelled_nodes_stop(pool: LivePool) -> None:
    ids = pool.add("ray.sleeps", count=16)
    pool.until_ready(2)
    pool.turn(0.1)
    pool.pool.cancel(ids)
    pool.run("ray.noop", count=200)
    assert not set(ids) & set(pool.results)


def test_a_stuck_handler_is_answered_for_and_its_runner_replaced(
    pool: LivePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dray.actors.runner.runner.GRACE", 0.1)
    first, _ = pool.until_ready(2)
    [stuck] = pool.add("ray.never_ends", timeout=0.1)
    pool.until(lambda: pool.ended)
    assert pool.results[stuck].failure is not None
    assert pool.ended[0][0] == first
    assert pool.until_ready(2)
    assert pool.run("ray.noop", count=20)


def test_stop_ends_the_threads_of_healthy_runners(make_pool: Make) -> None:
    load_handlers([HANDLERS])
    before = set(threading.enumerate())  # those of earlier tests may end meanwhile
    pool = make_pool(local_runners(4, 1 << 20))
    pool.run("ray.noop", count=100)
    pool.run("ray.noop_async", count=10)
    ours = set(threading.enumerate()) - before
    assert ours
    pool.pool.stop()
    pool.until(lambda: not any(each.is_alive() for each in ours))
