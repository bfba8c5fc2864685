"""Runners in threads of the driver's own process: for tests, and for hosts too small for Ray.

The same Runner as in a Ray actor. But what ends the process ends the driver, handlers share the GIL with it, and kill()
only leaves a runner alone: a handler that hangs keeps its thread.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence

from dray.actors.messages import NodeSpec, NodeTask
from dray.actors.outside import environment
from dray.actors.outside.environment import HandlerEnv
from dray.actors.outside.script import remove_leftovers
from dray.actors.pool.events import Collected, PoolEvent, RunnerFactory, RunnerInfo, RunnerReady
from dray.actors.pool.shapes import Shape
from dray.actors.runner.runner import Runner


class LocalRunner:
    """A RunnerHandle."""

    answers_within: float | None = None

    def __init__(
        self, number: int, concurrency: int, max_output_bytes: int, notify: Callable[[PoolEvent], None]
    ) -> None:
        self._number = number
        self._notify = notify
        self._lock = threading.Lock()
        self._asked = False
        self._runner = Runner(concurrency=concurrency, max_output_bytes=max_output_bytes, on_done=self._answer)
        name = f"local-runner-{number}"
        notify(RunnerReady(number, RunnerInfo(name, "local", socket.gethostname(), os.getpid())))

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None:
        self._runner.submit(specs, tasks)

    def collect(self) -> None:
        self._asked = True
        if self._runner.has_results:
            self._answer()

    def cancel(self, ids: Sequence[int]) -> None:
        self._runner.cancel(ids)

    def kill(self) -> None:
        self._runner.close()

    def _answer(self) -> None:
        with self._lock:  # a thread that is done and the driver that asks may come at once
            if not (self._asked and self._runner.has_results):
                return
            self._asked = False
            results, retiring = self._runner.take()
        self._notify(Collected(self._number, results, retiring))


def local_runners(concurrency: int, max_output_bytes: int, env: HandlerEnv | None = None) -> RunnerFactory:
    """concurrency: handlers at once in one runner, of each kind. Shapes mean nothing here."""
    environment.install(env or HandlerEnv({}))
    remove_leftovers()

    def make(number: int, shape: Shape, notify: Callable[[PoolEvent], None]) -> LocalRunner:  # noqa: ARG001
        return LocalRunner(number, concurrency, max_output_bytes, notify)

    return make
