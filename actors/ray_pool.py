"""Runners as Ray actors: all of Ray that runs nodes is in this file.

An actor carries a Runner. Its methods run on the actor's own event loop, where no handler ever runs, so that it answers
whatever handlers do. submit() takes a batch; collect() is a long poll that gives all that is done as soon as anything
is. A batch travels as one bytes object of pickled plain tuples, which spares Ray's serializer the thousand objects.

Ray's own retries are off: whether a node runs again is decided from checkpoints. The actors are not detached: they end
with the driver that made them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from actors.messages import NodeResult, NodeSpec, NodeTask
from actors.pool import Collected, PoolEvent, RunnerFactory, RunnerInfo, RunnerLost, RunnerReady, Shape
from actors.registry import load_handlers
from actors.runner import Runner

POLL_SECONDS = 30.0  # after which collect() comes back empty
UNAVAILABLE_SECONDS = 30.0  # how long an actor that Ray cannot reach is asked again
SECRETS = ("DRAY_DATABASE_URL", "DRAY_DIRECT_URL", "DATABASE_URL", "SUPABASE_", "POSTGRES_", "PG")

_log = logging.getLogger("dray.pool")


class RunnerActor:
    """Wrapped by Ray. The constructor raises what load_handlers raises, upon which Ray gives the actor up."""

    def __init__(self, name: str, modules: Sequence[str], concurrency: int, max_output_bytes: int) -> None:
        for variable in [each for each in os.environ if each.startswith(SECRETS)]:
            del os.environ[variable]
        load_handlers(modules)
        self._name = name
        self._loop = asyncio.get_event_loop()
        self._something = asyncio.Event()
        self._waits = False
        self._runner = Runner(concurrency=concurrency, max_output_bytes=max_output_bytes, on_done=self._wake)

    async def hello(self) -> tuple[str, str, str, int]:
        """The fields of RunnerInfo."""
        return self._name, ray.get_runtime_context().get_node_id(), socket.gethostname(), os.getpid()

    async def submit(self, batch: bytes) -> None:
        specs, tasks = pickle.loads(batch)  # noqa: S301 - from our driver
        self._runner.submit([NodeSpec(*each) for each in specs], [NodeTask(*each) for each in tasks])

    async def collect(self) -> bytes:
        """Pickled (results, why this runner must be retired)."""
        results, retiring = self._runner.take()
        if not results and not retiring:
            self._something.clear()
            self._waits = True
            results, retiring = self._runner.take()  # done between the first look and saying that we wait
            if not results and not retiring:
                try:
                    await asyncio.wait_for(self._something.wait(), POLL_SECONDS)
                except asyncio.TimeoutError:
                    pass
                results, retiring = self._runner.take()
            self._waits = False
        return pickle.dumps(([tuple(each) for each in results], retiring))

    async def cancel(self, ids: Sequence[int]) -> None:
        self._runner.cancel(ids)

    async def ping(self) -> None:
        """Answers if the process does."""

    def _wake(self) -> None:
        if self._waits:
            self._loop.call_soon_threadsafe(self._something.set)

    def __repr__(self) -> str:  # what Ray's dashboard and logs call it
        return self._name


class RayRunner:
    """A RunnerHandle. calls: how many Ray calls all runners of this process have cost, for the benchmark."""

    calls = 0

    def __init__(self, number: int, actor: Any, notify: Callable[[PoolEvent], None]) -> None:
        self._number = number
        self._actor = actor
        self._notify = notify
        self._killed = False
        self._unavailable_since: float | None = None
        self._follow(actor.hello.remote(), self._greeted)

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None:
        batch = pickle.dumps(([tuple(each) for each in specs], [tuple(each) for each in tasks]))
        RayRunner.calls += 1
        self._actor.submit.remote(batch)

    def collect(self) -> None:
        RayRunner.calls += 1
        self._follow(self._actor.collect.remote(), self._collected)

    def cancel(self, ids: Sequence[int]) -> None:
        RayRunner.calls += 1
        self._actor.cancel.remote(list(ids))

    def kill(self) -> None:
        self._killed = True
        ray.kill(self._actor)

    def _follow(self, ref: Any, then: Callable[[Any], None]) -> None:
        """Call then(value), or _failed(error), on a thread of Ray's."""

        def done(future: Any) -> None:
            error = future.exception()
            if self._killed:
                return
            if error is not None:
                self._failed(error)
            else:
                self._unavailable_since = None
                then(future.result())

        ref.future().add_done_callback(done)

    def _greeted(self, answer: tuple[str, str, str, int]) -> None:
        self._notify(RunnerReady(self._number, RunnerInfo(*answer)))

    def _collected(self, answer: bytes) -> None:
        results, retiring = pickle.loads(answer)  # noqa: S301 - from our runner
        self._notify(Collected(self._number, [NodeResult(*each) for each in results], retiring))

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, ActorUnavailableError):
            self._ask_again(error)
            return
        if isinstance(error, RayTaskError) and not isinstance(error, ActorDiedError):
            _log.error("a runner's own code failed: %s", error)
        crash = not getattr(error, "preempted", False)
        self._notify(RunnerLost(self._number, _reason(error), crash))

    def _ask_again(self, error: BaseException) -> None:
        """Ray cannot reach the actor: it may be dead, restarting its connection, or cut off. Ask until one is sure."""
        now = time.monotonic()
        self._unavailable_since = self._unavailable_since or now
        if now - self._unavailable_since > UNAVAILABLE_SECONDS:
            self._notify(RunnerLost(self._number, f"unreachable for {UNAVAILABLE_SECONDS:g} s: {_reason(error)}"))
            return
        timer = threading.Timer(1.0, self._collect_again)
        timer.daemon = True
        timer.start()

    def _collect_again(self) -> None:
        if not self._killed:
            self._follow(self._actor.collect.remote(), self._collected)


def ray_runners(
    incarnation: str, modules: Sequence[str], concurrency: int, max_output_bytes: int
) -> RunnerFactory:
    """modules: with handlers, besides the built-in ones. concurrency: sync handlers at once in one runner."""
    remote = ray.remote(RunnerActor)

    def make(number: int, shape: Shape, notify: Callable[[PoolEvent], None]) -> RayRunner:
        name = f"dray-{incarnation[:8]}-runner-{number}"
        actor = remote.options(
            name=name,
            num_cpus=shape.num_cpus,
            num_gpus=shape.num_gpus or None,
            memory=shape.memory or None,
            resources=dict(shape.resources) or None,
            scheduling_strategy="SPREAD",
            max_restarts=0,
            max_task_retries=0,
            enable_task_events=False,
        ).remote(name, list(modules), concurrency, max_output_bytes)
        return RayRunner(number, actor, notify)

    return make


def _reason(error: BaseException) -> str:
    """One line of what Ray tells: its texts are paragraphs of advice."""
    cause = getattr(error, "cause", None)
    text = str(cause if isinstance(cause, BaseException) else error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("class_name", "actor_id", "namespace", "pid", "ip"))]
    return " ".join(kept)[:500] or type(error).__name__


