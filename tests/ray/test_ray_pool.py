"""Runners as Ray actors: results come back, and what dies is known, replaced and harms nobody else."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dray.actors.messages import NodeFailure
from dray.actors.pool.pool import RunnerFactory, Shape
from tests.ray.conftest import HANDLERS, PATIENCE, SECRETS, LivePool

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

Make = Callable[..., LivePool]
INCARNATION = "0190a5b2-7b8c-7def-8123-456789abcdef"
DIED = "its process died: it was killed (out of memory?), crashed or called os._exit"


def runners(modules: tuple[str, ...] = (HANDLERS,), concurrency: int = 8, incarnation: str = "") -> RunnerFactory:
    from dray.actors.on_ray.pool import ray_runners

    # A name may be used once per Ray: each pool of this process is another driver.
    runners.count = getattr(runners, "count", 0) + 1  # type: ignore[attr-defined]
    name = incarnation or f"{runners.count:08}"  # type: ignore[attr-defined]
    return ray_runners(name, modules, concurrency, 1 << 20)


@pytest.fixture
def pool(make_pool: Make) -> LivePool:
    return make_pool(runners())


# Results


def test_results_of_all_kinds_come_back(pool: LivePool) -> None:
    assert (
        pool.run("ray.echo", '{"a": "{{ input.x }}", "b": "ü"}', input='{"x": [1, null]}')[0].output
        == '{"a":[1,null],"b":"ü"}'
    )
    [branch] = pool.run("ray.branch")
    assert (branch.branch, branch.output) == ("left", "1")
    assert pool.run("ray.wait_a_minute")[0].wait == 60.0
    assert pool.run("ray.noop_async")[0].output == '{"x":1}'
    failure = pool.run("ray.raises")[0].failure
    assert type(failure) is NodeFailure
    assert (failure.type, failure.retryable) == ("Local", True)
    assert failure.message.startswith("no luck (handlers.py, line ")


def test_ten_thousand_nodes_through_two_runners(pool: LivePool) -> None:
    pool.until_ready(2)
    results = pool.run("ray.echo", '{"n": "{{ input }}"}', 10_000, input="[1]")
    assert {each.output for each in results} == {'{"n":[1]}'}
    shares = Counter(pool.by[each.id] for each in results)
    assert len(shares) == 2
    assert min(shares.values()) >= 64, "at least the first that each was given; more is a matter of their speed"


def test_results_larger_than_ray_sends_inline(pool: LivePool) -> None:
    results = pool.run("ray.large", '{"bytes": 300000}', 20)
    assert {len(each.output or "") for each in results} == {300_002}


def test_nodes_larger_than_ray_sends_inline(pool: LivePool) -> None:
    text = json.dumps("x" * 300_000)
    results = pool.run("ray.echo", '{"n": "{{ size(input) }}"}', 10, input=text)
    assert {each.output for each in results} == {'{"n":300000}'}


def test_runners_say_where_they_are_and_have_readable_names(make_pool: Make) -> None:
    import ray

    pool = make_pool(runners(incarnation=INCARNATION), size=2)
    pool.until_ready(2)
    assert {each.name for each in pool.infos.values()} == {"dray-0190a5b2-runner-1", "dray-0190a5b2-runner-2"}
    for info in pool.infos.values():
        assert info.node_id == ray.nodes()[0]["NodeID"]
        assert Path(f"/proc/{info.pid}").exists()
        assert info.pid != os.getpid()
    assert ray.get_actor("dray-0190a5b2-runner-1") is not None


def test_a_runners_environment_has_no_credentials(pool: LivePool) -> None:
    [result] = pool.run("ray.environment")
    environment = json.loads(result.output or "")
    assert not environment.keys() & SECRETS.keys()
    assert not any("s3cret" in value for value in environment.values())


def test_a_runner_loads_no_database_driver(pool: LivePool) -> None:
    loaded = json.loads(pool.run("ray.modules")[0].output or "")
    assert not {"psycopg2", "sqlalchemy", "dray.store", "dray.cluster"} & set(loaded)


def test_where_ray_collects_no_metrics_a_runner_has_nobody_to_tell_them(pool: LivePool) -> None:
    """With metrics: test_ray_metrics.py."""
    assert "metrics" not in json.loads(pool.run("ray.threads")[0].output or "")


def test_handlers_log_to_their_runners_stderr_with_execution_and_node(pool: LivePool) -> None:
    import ray

    pid = pool.run("ray.speaks")[0].output
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    [stderr] = logs.glob(f"worker-*-{pid}.err")
    pool.until(lambda: "a line of the node's own" in stderr.read_text())
    [line] = [each for each in stderr.read_text().splitlines() if "a line of" in each]
    assert line.endswith("a line of the node's own  execution=e1 node=n attempt=1")


def test_modules_that_cannot_be_loaded_are_named(make_pool: Make) -> None:
    pool = make_pool(runners(("no.such.module",)), size=1)
    said: list[str] = []
    pool.pool._notify = None  # type: ignore[assignment]  # not used by this test: events come from the handle
    pool.until(lambda: said or said.extend(_reasons(pool)))
    assert "cannot load handlers from 'no.such.module'" in said[0]


def _reasons(pool: LivePool) -> list[str]:
    from dray.actors.pool.pool import RunnerLost

    event = pool.inbox.get(timeout=PATIENCE)
    return [event.reason] if isinstance(event, RunnerLost) else []


# Deaths


def test_a_handler_that_ends_its_process_takes_only_its_own_runner(pool: LivePool, tmp_path: Path) -> None:
    pool.until_ready(2)
    go = tmp_path / "go"
    config = json.dumps({"file": str(go)})
    held = pool.add("ray.holds", config, 4)
    pool.until(lambda: len(list(tmp_path.glob("go.*.began"))) == 2)
    [killer] = pool.add("ray.exits")
    pool.until(lambda: killer in pool.lost)
    assert pool.lost[killer] == (DIED, True)
    assert set(pool.lost) == {killer, *(set(held) & set(pool.lost))}
    assert len(pool.lost) == 3, "its two neighbours in the same runner went with it"
    assert pool.ended == [(1, DIED)] or pool.ended == [(2, DIED)]
    go.touch()
    rest = set(held) - set(pool.lost)
    pool.until(lambda: rest <= set(pool.results))
    assert {pool.results[each].output for each in rest} == {'"released"'}
    pool.until_ready(2)
    pool.run("ray.noop", count=20)


@pytest.mark.parametrize("way", ["SIGKILL", "ray.kill"])
def test_a_killed_runner_is_lost_and_replaced(pool: LivePool, way: str) -> None:
    import ray

    first, second = pool.until_ready(2)
    ids = pool.add("ray.sleeps", count=6)
    info = pool.infos[first]
    if way == "ray.kill":
        ray.kill(ray.get_actor(info.name))
    else:
        os.kill(info.pid, signal.SIGKILL)
    pool.until(lambda: len(pool.lost) == 3)
    assert set(pool.lost.values()) == {({"SIGKILL": DIED, "ray.kill": "killed by `ray.kill`"}[way], True)}
    assert pool.pool.in_flight == 3
    assert len(ids) == 6
    pool.until_ready(2)
    assert second in pool.alive
    assert pool.run("ray.noop", count=20)


def test_a_stopped_process_is_given_up(make_pool: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make_pool(runners(), size=1)
    [first] = pool.until_ready(1)
    [task] = pool.add("ray.sleeps")
    os.kill(pool.infos[first].pid, signal.SIGSTOP)
    monkeypatch.setattr("dray.actors.pool.pool.SILENCE", -8.0)  # 2 s after it was asked
    pool.until(lambda: pool.lost)
    reason, crash = pool.lost[task]
    assert "did not answer" in reason
    assert crash
    pool.until(lambda: not Path(f"/proc/{pool.infos[first].pid}").exists())


def test_a_stuck_handler_is_answered_for_and_its_runner_replaced(pool: LivePool) -> None:
    first, second = pool.until_ready(2)
    [stuck] = pool.add("ray.never_ends", timeout=0.1)
    pool.until(lambda: stuck in pool.results)
    failure = pool.results[stuck].failure
    assert failure is not None and failure.type == "timeout"
    pool.until(lambda: pool.ended)
    assert pool.ended[0][0] == first
    assert "e1/n (ray.never_ends) did not end within 0.1 s" in pool.ended[0][1]
    pool.until_ready(2)
    assert second in pool.alive
    pool.until(lambda: not Path(f"/proc/{pool.infos[first].pid}").exists())
    assert not pool.lost


def test_a_spinning_handler_keeps_no_result_back(make_pool: Make, tmp_path: Path) -> None:
    pool = make_pool(runners(), size=1)
    go = tmp_path / "go"
    [spinning] = pool.add("ray.spins", json.dumps({"file": str(go)}))
    pool.run("ray.noop", count=50)
    assert spinning not in pool.results
    go.touch()
    pool.until(lambda: spinning in pool.results)


def test_cancelled_nodes_stop_and_make_room(make_pool: Make, tmp_path: Path) -> None:
    pool = make_pool(runners(concurrency=2), size=1, slots=4)
    ids = pool.add("ray.sleeps", count=4)
    pool.until_ready(1)
    pool.pool.cancel(ids)
    assert pool.run("ray.noop", count=4)
    assert not set(ids) & set(pool.results)


def test_what_asks_for_too_much_waits_and_harms_nobody(pool: LivePool) -> None:
    [impossible] = pool.add("ray.noop", shape=Shape(1.0, resources=(("unobtainium", 1.0),)))
    assert pool.run("ray.noop", count=10)
    assert impossible not in pool.results
    assert pool.pool.waiting == 1


def test_a_fraction_above_one_is_rounded_up(make_pool: Make) -> None:
    pool = make_pool(runners(), size=1, shape=Shape(1.5))
    assert pool.run("ray.noop")


def test_stop_ends_the_processes(make_pool: Make) -> None:
    pool = make_pool(runners())
    pool.until_ready(2)
    pool.add("ray.never_ends")
    pids = [each.pid for each in pool.infos.values()]
    pool.pool.stop()
    until = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_messages_that_got_lost_end_the_runner(make_pool: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dray.actors.on_ray.pool.LATE", 0.0)  # no other message is on its way
    pool = make_pool(runners(), size=1)
    pool.until_ready(1)
    [member] = pool.pool._members.values()
    handle: Any = member.handle
    handle._sent += 1  # as if a batch had been sent that never arrived
    ids = pool.add("ray.sleeps", count=2)
    while not pool.lost:  # a few answers later it is sure
        [each] = pool.add("ray.noop")
        pool.until(lambda: each in pool.results or each in pool.lost)  # noqa: B023
    assert set(ids) <= set(pool.lost)
    assert set(pool.lost.values()) == {("messages between it and the driver were lost", False)}
