"""Runners as Ray actors: all of Ray that runs nodes is in this file.

An actor carries a Runner. Its methods run on threads of the actor's own, where no handler ever runs, so it answers
whatever handlers do; threads and not an event loop, which makes each call 0.5 ms slower (1.3 against 1.8 ms, there and
back). Ray's own retries are off: whether a node runs again is decided from checkpoints. The actors are not detached:
they end with the driver that made them.

    driver                                       runner
    collect(batch)    one at a time     ->       starts the batch; waits until anything is done, at most LONG_POLL
    submit(batch)     no reply          ->       starts a batch meanwhile
                                        <-       all that is done

A batch travels as one marshalled bytes object of plain tuples. Ray puts bytes into the call as they are, where a list
of NamedTuples goes through its pickler; and reading marshal data calls nothing, whatever the other side put in.

Ray says neither that a submit() without a reply was lost nor that an answer was. So batches and answers are numbered,
and a runner that misses one, or whose answer is missed, is given up: its nodes run again elsewhere.

20,000 nodes that do nothing, through two runners with 256 slots on two shared cores: 65,000 nodes/s, 80 calls; CPU per
node 8 us in the driver's process, 5 of them on its deciding thread, and 13 us in the runners, 7 of them in Runner. With
collect(batch) and submit(batch) as two calls it was 160 calls and 17 us. One node through an idle runner: 2.0 ms, where
an empty call of Ray's took 1.7 ms at the time.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import marshal
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError, RayTaskError

from dray.actors.errors import RegistryError
from dray.actors.messages import ChildStart, NodeFailure, NodeResult, NodeSpec, NodeTask
from dray.actors.on_ray.deaths import is_crash, reason_of
from dray.actors.on_ray.metrics import Reporter, are_on
from dray.actors.outside import environment
from dray.actors.outside.environment import HandlerEnv
from dray.actors.outside.script import remove_leftovers
from dray.actors.pool.events import (
    Collected,
    PoolEvent,
    RunnerFactory,
    RunnerHandle,
    RunnerInfo,
    RunnerLost,
    RunnerReady,
)
from dray.actors.pool.shapes import Shape, asked
from dray.actors.registry import load_handlers
from dray.actors.runner import log
from dray.actors.runner.runner import Runner

LONG_POLL = 10.0  # seconds
THREADS = 4  # of an actor: one waits in collect(), one more may after a lost answer, and the others must get through
UNREACHABLE = 30.0  # seconds that Ray may fail to reach an actor before it counts as dead
ANSWER_BYTES = 90_000  # of one answer; up to 100 KiB travel in the reply itself, more through the object store
LATE = 30.0  # seconds after which a batch that has not arrived counts as lost; a large one is slow on a busy machine
DISAGREE = "messages between it and the driver were lost"
SECRETS = ("DRAY_", "DATABASE_URL", "SUPABASE_", "POSTGRES_", "PG")

_log = logging.getLogger("dray.pool")


class RunnerActor:
    """The process of a runner. What it cannot load is told by hello(): an error here would come out as Ray's."""

    def __init__(
        self, name: str, pool: str, modules: Sequence[str], concurrency: int, max_output_bytes: int, log_level: str
    ) -> None:
        for variable in [each for each in os.environ if each.startswith(SECRETS)]:
            del os.environ[variable]
        log.setup(log_level)
        remove_leftovers()
        self._name = name
        self._problem: str | None = None
        try:
            load_handlers(modules)
        except RegistryError as error:
            self._problem = str(error)
        self._changed = threading.Condition()
        self._submitting = threading.Condition()
        self._batches = self._answers = self._collects = 0
        self._early: set[int] = set()
        counts = are_on()
        self._runner = Runner(
            concurrency=concurrency, max_output_bytes=max_output_bytes, on_done=self._wake, counts=counts
        )
        if counts:
            Reporter(self._runner.look, {"runner": name, "pool": pool}).start()
        gc.freeze()

    def hello(self, env: HandlerEnv) -> tuple[tuple[str, str, str, int], str | None]:
        """The fields of RunnerInfo; why it cannot run anything.

        env: not an argument of __init__, since Ray keeps those in its tables.
        """
        environment.install(env, clean=True)
        node_id = ray.get_runtime_context().get_node_id()
        return (self._name, node_id, socket.gethostname(), os.getpid()), self._problem

    def ping(self) -> tuple[int, int]:
        """Answers given, batches received without a gap: so far."""
        with self._changed:
            return self._answers, self._batches

    @ray.method(num_returns=0)
    def submit(self, batch: bytes) -> None:
        self._submit(batch)

    def _submit(self, batch: bytes) -> None:
        number, specs, tasks = marshal.loads(batch)  # noqa: S302  # from our driver
        with self._submitting:  # the runner takes one batch at a time
            self._runner.submit([NodeSpec._make(each) for each in specs], [NodeTask._make(each) for each in tasks])
            self._early.add(number)  # Ray lets one call overtake another
            while self._batches + 1 in self._early:
                self._batches += 1
                self._early.remove(self._batches)
            self._submitting.notify_all()

    @ray.method(num_returns=0)
    def cancel(self, ids: Sequence[int], after: int) -> None:
        """after: the number of the last batch that was sent before, which this call may have overtaken."""
        with self._submitting:
            self._submitting.wait_for(lambda: self._batches >= after, LONG_POLL)
        self._runner.cancel(ids)

    def collect(self, batch: bytes | None = None) -> bytes:
        """Marshalled: number of this answer, batches received without a gap, results, why this runner must be replaced.

        batch: of nodes, as for submit().
        """
        with self._changed:
            self._collects += 1
            mine = self._collects
            self._changed.notify_all()
        if batch is not None:
            self._submit(batch)
        with self._changed:
            self._changed.wait_for(lambda: self._runner.has_results or mine != self._collects, LONG_POLL)
            if mine != self._collects:
                return b""  # the driver has asked again since: nobody hears this answer
            results, retiring = self._runner.take(ANSWER_BYTES)
            self._answers += 1
            return marshal.dumps((self._answers, self._batches, [_plain(each) for each in results], retiring))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def __repr__(self) -> str:  # what Ray's dashboard and logs call it
        return self._name


def _plain(result: NodeResult) -> tuple[Any, ...]:
    """marshal takes no subclass of tuple or str."""
    if (failure := result.failure) is not None:
        result = result._replace(failure=(str(failure.type), *failure[1:]))  # type: ignore[arg-type]
    if result.child is not None:
        result = result._replace(child=tuple(result.child))  # type: ignore[arg-type]
    return tuple(result)


def _result(plain: tuple[Any, ...]) -> NodeResult:
    result = NodeResult._make(plain)
    if result.failure is not None:
        result = result._replace(failure=NodeFailure._make(result.failure))
    if result.child is not None:
        result = result._replace(child=ChildStart._make(result.child))
    return result


class RayRunner:
    """A RunnerHandle. Events come from threads of Ray's, where nothing may wait.

    calls: how many Ray calls all runners of this process have cost, for the benchmark.
    """

    calls: ClassVar[int] = 0
    answers_within: float | None = LONG_POLL

    def __init__(self, number: int, actor: Any, env: HandlerEnv, notify: Callable[[PoolEvent], None]) -> None:
        self._env = env
        self._number = number
        self._actor = actor
        self._notify = notify
        self._killed = False
        self._greeted = False
        self._collecting = False
        self._batch: bytes | None = None  # goes with the next collect()
        self._sent = 0  # batches
        self._marked = self._due = 0  # ... by the collect() at _marked_at, and by one that was LATE before it
        self._marked_at = 0.0
        self._answers = 0
        self._hello()

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None:
        self._sent += 1
        batch = marshal.dumps((self._sent, [tuple(each) for each in specs], [tuple(each) for each in tasks]))
        if self._collecting:
            self._send(batch)
            return
        if self._batch is not None:
            self._send(self._batch)
        self._batch = batch

    def _send(self, batch: bytes) -> None:
        RayRunner.calls += 1
        self._actor.submit.remote(batch)

    def collect(self) -> None:
        RayRunner.calls += 1
        now = time.monotonic()
        if now - self._marked_at >= LATE:
            self._marked_at, self._marked, self._due = now, self._sent, self._marked
        batch, self._batch = self._batch, None
        self._collecting = True
        self._follow(self._actor.collect.remote(batch), self._collected)

    def cancel(self, ids: Sequence[int]) -> None:
        RayRunner.calls += 1
        self._actor.cancel.remote(list(ids), self._sent)

    def kill(self) -> None:
        if not self._killed:
            self._killed = True
            with contextlib.suppress(RayError):  # no Ray any more, so no actor either
                ray.kill(self._actor)

    def _hello(self) -> None:
        RayRunner.calls += 1
        self._follow(self._actor.hello.remote(self._env), self._introduced)

    def _follow(self, ref: Any, then: Callable[[Any], None]) -> None:
        """then(value), or _failed(error), on a thread of Ray's."""

        def done(future: Any) -> None:
            if self._killed:
                return
            try:
                then(future.result())
            except BaseException as error:  # noqa: BLE001  # Ray's, or ours: an exception of a callback is never seen
                self._failed(error)

        ref.future().add_done_callback(done)

    def _introduced(self, answer: tuple[tuple[str, str, str, int], str | None]) -> None:
        info, problem = answer
        if problem is not None:
            self._lost(problem, crash=False)
            return
        self._greeted = True
        self._notify(RunnerReady(self._number, RunnerInfo(*info)))

    def _collected(self, answer: bytes) -> None:
        self._collecting = False
        number, batches, results, retiring = marshal.loads(answer)  # noqa: S302  # see the top of this file
        self._answers += 1
        # A batch that was sent so long ago, and before the last but one collect(), has arrived by now, or never will.
        # Its arguments above 100 KiB come through the object store: later calls may overtake it.
        if number != self._answers or batches < self._due:
            self._lost(DISAGREE, crash=False)
            return
        self._notify(Collected(self._number, [_result(each) for each in results], retiring))

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, ActorUnavailableError):
            self._notify(Collected(self._number, [], None, silent=True))
            threading.Thread(target=self._reach, args=(error,), name="unreachable runner", daemon=True).start()
            return
        if isinstance(error, RayTaskError) or not isinstance(error, RayError):
            _log.error("a bug of Dray: its own code failed in a runner", exc_info=error)
        self._lost(reason_of(error), is_crash(error))

    def _reach(self, error: BaseException) -> None:
        """Ray cannot reach the actor: its connection broke, or it is dead and Ray does not know yet. On a thread."""
        until, pause = time.monotonic() + UNREACHABLE, 0.1
        while not self._killed and time.monotonic() < until:
            time.sleep(pause)  # also so that what is on its way arrives before the ping
            pause = min(2 * pause, 5.0)
            try:
                counts = ray.get(self._actor.ping.remote(), timeout=max(0.1, until - time.monotonic()))
            except (ActorUnavailableError, GetTimeoutError) as again:
                error = again
            except BaseException as final:  # noqa: BLE001  # as in _follow
                self._failed(final)
                return
            else:
                self._back(*counts)
                return
        self._lost(f"could not be reached for {UNREACHABLE:g} s: {reason_of(error)}", crash=True)

    def _back(self, answers: int, batches: int) -> None:
        if not self._greeted:
            self._hello()
        elif (answers, batches) == (self._answers, self._sent):
            self._collecting = False
            self._notify(Collected(self._number, []))
        else:
            self._lost(DISAGREE, crash=False)

    def _lost(self, reason: str, crash: bool) -> None:
        if not self._killed:
            self._notify(RunnerLost(self._number, reason, crash))


def ray_runners(
    incarnation: str,
    modules: Sequence[str],
    concurrency: int,
    max_output_bytes: int,
    log_level: str = "INFO",
    env: HandlerEnv | None = None,
) -> RunnerFactory:
    """modules: with handlers, besides the built-in ones. concurrency: handlers at once in one runner, of each kind."""
    given = env or HandlerEnv({})
    remote = ray.remote(RunnerActor)

    def make(number: int, shape: Shape, notify: Callable[[PoolEvent], None]) -> RunnerHandle:
        name = f"dray-{incarnation[:8]}-runner-{number}"
        try:
            actor = remote.options(
                name=name,
                num_cpus=_amount(shape.num_cpus),
                num_gpus=_amount(shape.num_gpus) or None,
                memory=shape.memory or None,
                resources={name: _amount(amount) for name, amount in shape.resources} or None,
                label_selector=dict(shape.labels) or None,
                scheduling_strategy="SPREAD",
                max_concurrency=THREADS,
                max_restarts=0,
                max_task_retries=0,
                enable_task_events=False,  # a row in Ray's tables for each call would cost more than the call
            ).remote(name, _pool(shape), list(modules), concurrency, max_output_bytes, log_level)
        except (ValueError, TypeError) as error:  # an amount or a label that Ray does not take: not the driver's end
            notify(RunnerLost(number, f"Ray refuses what it asks for: {error}", crash=False))
            return _Refused()
        return RayRunner(number, actor, given, notify)

    return make


class _Refused:
    """In place of a runner that Ray does not make; it is lost already."""

    answers_within: float | None = None

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None: ...

    def collect(self) -> None: ...

    def cancel(self, ids: Sequence[int]) -> None: ...

    def kill(self) -> None: ...


def _pool(shape: Shape) -> str:
    """What the pool of a shape is called in metrics."""
    return "alone" if shape.solo else asked(shape)


def _amount(wanted: float) -> float:
    """Ray takes fractions up to 1 only."""
    return wanted if wanted <= 1 else math.ceil(wanted)
