from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dray.actors.messages import NodeResult, NodeSpec, NodeTask
from dray.actors.pool.pool import Pool, RunnerInfo, Shape

ROOT = Path(__file__).parents[2]
HANDLERS = "tests.ray.handlers"
PATIENCE = 120.0  # seconds for anything to happen; never waited out when all is well
SECRETS = {"DRAY_DATABASE_URL": "postgres://u:s3cret@h/d", "PGPASSWORD": "s3cret", "SUPABASE_DB_PASSWORD": "s3cret"}
# What Ray reads when it is imported. PYTHONPATH is for its workers.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONPATH": str(ROOT),
}


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """One Ray for all tests of this process, whose processes were born with credentials in their environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, **SECRETS}.items():
            patch.setenv(name, value)
        import ray

        ray.init(
            address="local", num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, namespace="dray-tests",
            log_to_driver=False, configure_logging=False,
        )  # fmt: skip
        for name in SECRETS:
            patch.delenv(name)
        yield
        ray.shutdown()


class LivePool:
    """A Pool with real runners, turned by hand as a driver turns it.

    results, lost: task id -> what came. infos: runner -> RunnerInfo. ended: (runner's id in the database, reason).
    """

    def __init__(self, factory: Any, size: int, slots: int, shape: Shape, **options: Any) -> None:
        self.shape = shape
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.pool = Pool(factory, self.inbox.put, default=shape, size=size, slots=slots, **options)
        self.results: dict[int, NodeResult] = {}
        self.by: dict[int, int] = {}  # task id -> the runner's id in the database
        self.lost: dict[int, tuple[str, bool]] = {}
        self.infos: dict[int, RunnerInfo] = {}
        self.ended: list[tuple[int, str]] = []
        self._last_id = 0
        self.pool.start()

    def add(
        self, node_type: str, config: str = "{}", count: int = 1, shape: Shape | None = None, **task: Any
    ) -> list[int]:
        ids = list(range(self._last_id + 1, self._last_id + count + 1))
        self._last_id = ids[-1]
        spec = NodeSpec(f"1:{node_type}{config}", node_type, config)
        task.setdefault("timeout", 60.0)
        for each in ids:
            self.pool.add(spec, NodeTask(each, spec.key, "e1", "n", 1, **task), shape or self.shape)
        self.pool.flush()
        return ids

    def turn(self, seconds: float = 1.0) -> None:
        try:
            events = [self.inbox.get(timeout=seconds)]
            while True:
                events.append(self.inbox.get_nowait())
        except queue.Empty:
            events = events if "events" in locals() else []
        for event in events:
            news = self.pool.handle(event)
            for db_id, result in news.results:
                assert result.id not in self.results and result.id not in self.lost
                self.results[result.id] = result
                self.by[result.id] = db_id
            for task, reason, crash in news.lost:
                assert task not in self.results and task not in self.lost
                self.lost[task] = (reason, crash)
            for runner, info in news.ready:
                self.infos[runner] = info
                self.pool.admit(runner, runner)
            self.ended += news.ended
        self.pool.tick(time.monotonic())
        self.pool.flush()
        self.pool.check()

    def until(self, condition: Callable[[], Any]) -> None:
        limit = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < limit, (self.pool.runners(), self.ended, self.lost)
            self.turn()

    def run(self, node_type: str, config: str = "{}", count: int = 1, **task: Any) -> list[NodeResult]:
        ids = self.add(node_type, config, count, **task)
        self.until(lambda: all(each in self.results for each in ids))
        return [self.results[each] for each in ids]

    def until_ready(self, count: int) -> list[int]:
        """Wait until so many runners are alive and ready; their numbers."""
        self.until(lambda: len(self.alive) >= count)
        return self.alive

    @property
    def alive(self) -> list[int]:
        return [each["runner"] for each in self.pool.runners() if each["database_id"] is not None]


@pytest.fixture
def make_pool() -> Iterator[Callable[..., LivePool]]:
    """make_pool(factory, size=2, slots=64, shape=Shape(0.0)) -> LivePool, stopped after the test."""
    made: list[LivePool] = []

    def make(factory: Any, size: int = 2, slots: int = 64, shape: Shape = Shape(0.0)) -> LivePool:  # noqa: B008
        made.append(LivePool(factory, size, slots, shape))
        return made[-1]

    yield make
    for each in made:
        each.pool.stop()
