"""Runners in threads of the driver's own process: for tests, and for hosts too small for Ray.

The same Runner as in a Ray actor. What ends the process ends the driver, and a handler that hangs keeps its thread.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence

from actors.messages import NodeSpec, NodeTask
from actors.pool import Collected, PoolEvent, RunnerFactory, RunnerInfo, RunnerReady, Shape
from actors.runner import Runner


class LocalRunner:
    """A RunnerHandle. notify: takes its events, from any thread."""

    def __init__(
        self, number: int, concurrency: int, max_output_bytes: int, notify: Callable[[PoolEvent], None]
    ) -> None:
        self._number = number
        self._notify = notify
        self._lock = threading.Lock()
        self._asked = False
        self._done = False
        self._runner = Runner(concurrency=concurrency, max_output_bytes=max_output_bytes, on_done=self._on_done)
        name = f"local-runner-{number}"
        notify(RunnerReady(number, RunnerInfo(name, "local", socket.gethostname(), os.getpid())))

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None:
        self._runner.submit(specs, tasks)

    def collect(self) -> None:
        with self._lock:
            self._asked = True
        self._deliver()

    def cancel(self, ids: Sequence[int]) -> None:
        self._runner.cancel(ids)

    def kill(self) -> None:
        self._runner.close()

    def _on_done(self) -> None:
        with self._lock:
            self._done = True
        self._deliver()

    def _deliver(self) -> None:
        with self._lock:
            if not (self._asked and self._done):
                return
            self._asked = self._done = False
        results, retiring = self._runner.take()
        self._notify(Collected(self._number, results, retiring))


def local_runners(concurrency: int, max_output_bytes: int) -> RunnerFactory:
    """concurrency: sync handlers at once in one runner."""

    def make(number: int, shape: Shape, notify: Callable[[PoolEvent], None]) -> LocalRunner:
        return LocalRunner(number, concurrency, max_output_bytes, notify)

    return make
