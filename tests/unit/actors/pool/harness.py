"""A Pool whose runners are lists of what was asked of them, and whose clock is set by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from dray.actors.messages import NodeFailure, NodeResult, NodeSpec, NodeTask
from dray.actors.pool.pool import Collected, News, Pool, PoolEvent, RunnerInfo, RunnerLost, RunnerReady, Shape

DEFAULT = Shape(1.0)
NOTHING = News([], [], [], [])


class FakeRunner:
    """A RunnerHandle that does nothing. tasks: what it was given and has not given back."""

    answers_within: float | None = 10.0

    def __init__(self, number: int, shape: Shape) -> None:
        self.number = number
        self.shape = shape
        self.calls: list[tuple[list[NodeSpec], list[NodeTask]]] = []
        self.tasks: list[int] = []
        self.cancelled: list[int] = []
        self.collects = 0
        self.answers = 0
        self.kills = 0

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None:
        assert not self.kills
        self.calls.append((list(specs), list(tasks)))
        self.tasks += [task.id for task in tasks]

    def collect(self) -> None:
        self.collects += 1

    def cancel(self, ids: Sequence[int]) -> None:
        self.cancelled += ids

    def kill(self) -> None:
        self.kills += 1


class PoolHarness:
    """Every step goes through here, and ends with Pool.check()."""

    def __init__(self, size: int = 2, slots: int = 4, **options: Any) -> None:
        self.now = 1_000.0
        self.runners: dict[int, FakeRunner] = {}
        self.inbox: list[PoolEvent] = []
        self.mute: set[int] = set()  # runners that do not answer
        self._ids = itertools.count(1)
        self.pool = Pool(
            self._make, self.inbox.append, default=DEFAULT, size=size, slots=slots, clock=lambda: self.now, **options
        )

    def _make(self, number: int, shape: Shape, notify: Callable[[PoolEvent], None]) -> FakeRunner:
        assert number not in self.runners
        runner = self.runners[number] = FakeRunner(number, shape)
        return runner

    def start(self) -> PoolHarness:
        """All runners of the default shape are admitted, as 100 + their number."""
        self.pool.start()
        for number in list(self.runners):
            self.admit(number)
        return self

    def admit(self, number: int) -> None:
        info = RunnerInfo(f"runner-{number}", "node", "host", number)
        assert self.handle(RunnerReady(number, info)).ready == [(number, info)]
        self.pool.admit(number, 100 + number)
        self.flush()

    def admit_new(self) -> list[int]:
        new = [each.number for each in self.runners.values() if not each.kills and not each.collects]
        for number in new:
            self.admit(number)
        return new

    def add(self, count: int = 1, shape: Shape = DEFAULT, **task: Any) -> list[int]:
        """Nodes of one spec, flushed; their ids."""
        ids = [next(self._ids) for _ in range(count)]
        task.setdefault("timeout", 60.0)
        for each in ids:
            self.pool.add(
                NodeSpec("1:a", "noop", "{}"),
                NodeTask(each, "1:a", "e", "a", 1, **task),
                shape,
            )
        self.flush()
        return ids

    def flush(self) -> None:
        self.pool.flush()
        self.pool.check()

    def cancel(self, *ids: int) -> None:
        self.pool.cancel(ids)
        self.pool.check()

    def handle(self, event: PoolEvent) -> News:
        *parts, self.told_of = self.pool.handle(event)
        news = News(*map(list, parts))
        self.pool.check()
        return news

    def done(self, number: int, *ids: int, **event: Any) -> News:
        """The runner gives results for these, or for all that it has."""
        runner = self.runners[number]
        results = [NodeResult(each, "1") for each in ids or runner.tasks]
        runner.tasks = [each for each in runner.tasks if each not in {result.id for result in results}]
        runner.answers = runner.collects
        return self.handle(Collected(number, results, **event))

    def fails(self, number: int, task: int, failure: NodeFailure) -> News:
        self.runners[number].tasks.remove(task)
        return self.handle(Collected(number, [NodeResult(task, failure=failure)]))

    def lose(self, number: int, crash: bool = True) -> News:
        return self.handle(RunnerLost(number, "gone", crash))

    def tick(self, seconds: float = 0.0, step: float = 1.0) -> list[News]:
        """Let time pass second by second, as a driver does, and take in what the pool tells itself.

        Runners that were asked answer that they have nothing, at once, but for the mute ones.
        """
        news = []
        until = self.now + seconds
        while True:
            for runner in self.runners.values():
                if runner.collects > runner.answers and runner.number not in self.mute:
                    self.handle(Collected(runner.number, []))
                    runner.answers = runner.collects
            self.pool.tick(self.now)
            self.pool.check()
            events, self.inbox[:] = self.inbox[:], []
            news += [self.handle(event) for event in events]
            self.flush()
            if self.now >= until:
                return news
            self.now = min(until, self.now + step)

    @property
    def loads(self) -> dict[int, int]:
        return {number: len(each.tasks) for number, each in self.runners.items() if not each.kills}
