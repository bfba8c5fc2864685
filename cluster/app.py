"""The composition root: settings -> database, Ray, pool, driver."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

from dray.actors.outside import environment
from dray.actors.pool.local import local_runners
from dray.actors.pool.pool import Pool, RunnerFactory, Shape
from dray.actors.registry import load_handlers
from dray.cluster import failpoints, logs
from dray.cluster.driver.driver import Driver
from dray.cluster.driver.observer import Observer
from dray.cluster.driver.options import DriverOptions
from dray.cluster.driver.suspects import SUSPECT
from dray.cluster.errors import RayGone, RunnersMissing
from dray.cluster.execution.attempts import Policy
from dray.cluster.health.monitoring import FOR_EVER, Bounded, ended_in_time, monitored
from dray.cluster.health.sd_notify import Notifier
from dray.cluster.machine import limits_here
from dray.cluster.schedules import Bounds
from dray.cluster.settings import Settings
from dray.store.connection import connect, wait_until_up, waits
from dray.store.driver_store import DriverStore
from dray.store.errors import LeaseLost, Unavailable
from dray.store.listener import Listener
from dray.store.migrate import verify
from dray.store.url import DatabaseURL

# Claim, commit, lease, housekeeping, schedules, clerk, monitoring: one connection each, so that none waits for another.
CONNECTIONS = 7
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a new incarnation, growing while each ends soon
LOOK = 5.0  # seconds between two looks whether there is still a Ray

log = logs.get("worker")


class WorkerInfo(NamedTuple):
    """What a person wants to know of a driver that has started. database: without password. runners: how many."""

    version: str
    incarnation: str
    database: str
    executor: str
    concurrency: int
    runners: int


class _Executor(NamedTuple):
    """How runners are made, given the incarnation. runners: of the default shape at most. on_stuck: as Pool's.

    gone: why there will be no runners any more, None = all is well. It may take long to answer.
    """

    factory: Callable[[str], RunnerFactory]
    runners: int
    on_stuck: Callable[[Shape, int, float], None] | None
    gone: Callable[[], str | None]


def run_worker(
    settings: Settings,
    *,
    stop: threading.Event,
    on_ready: Callable[[WorkerInfo], None] = lambda _: None,
    bounded: Bounded = FOR_EVER,
) -> None:
    """Drive executions until `stop` is set, then drain. Blocks; call it on a thread that lives as long as Ray shall.

    A driver that loses its lease is replaced by a new incarnation in the same process. on_ready: called for each, once
    its lease is there. bounded: when it is to end by itself. Raises StoreError, RegistryError, ClusterError: one line.
    """
    assert settings.database_url is not None, "the command line asks for one"
    failpoints.configure(settings.failpoints)
    systemd = Notifier.from_environment()
    load_handlers(settings.handlers)
    engine = connect(settings.database_url, pool_size=CONNECTIONS, application_name="dray worker")
    observer, watching, earlier = Observer(), DriverStore(engine), list[str]()

    def is_up() -> bool:
        """Wait for the database; False when told to stop."""

        def say(reason: str) -> None:
            log.warning("waiting for the database", reason=reason)
            systemd.alive("waiting for the database")

        return not stop.is_set() and wait_until_up(engine, say, stop=stop)

    with ExitStack() as stack:
        stack.callback(engine.dispose)
        stack.enter_context(monitored(settings, observer, watching))
        stack.enter_context(ended_in_time(bounded, settings, observer, watching, stop))
        if not is_up():
            return
        verify(engine)
        _limit_inputs(settings, watching)
        executor = stack.enter_context(_executor(settings))
        restarts = _Restarts()
        while is_up():
            info = _info(settings, executor.runners)
            driver = _driver(settings, DriverStore(engine), executor, info, observer, earlier)

            def started(info: WorkerInfo = info) -> None:
                systemd.ready(f"runs with {info.runners} runners on {info.executor}")
                on_ready(info)

            with _drained_by(stop, driver, systemd), _ended_without(executor.gone, driver) as gone:
                try:
                    driver.run(started, systemd.alive)
                except (LeaseLost, Unavailable, RunnersMissing) as error:
                    observer.waits()
                    earlier.append(info.incarnation)
                    log.warning("starting again as a new incarnation", reason=str(error))
                    stop.wait(restarts.pause())
                else:
                    if gone:
                        raise RayGone(gone[0])
                    return


def _info(settings: Settings, runners: int) -> WorkerInfo:
    """Of a new incarnation."""
    assert settings.database_url is not None
    where = settings.database_url.safe
    return WorkerInfo(version("dray"), str(uuid.uuid4()), where, settings.executor, settings.concurrency, runners)


class _Restarts:
    """Of incarnations in one process: where each ends soon, as where the database is read only, they come slower."""

    def __init__(self) -> None:
        self._pauses = waits(FIRST_PAUSE, LONGEST_PAUSE)
        self._last = time.monotonic()

    def pause(self) -> float:
        """Seconds until the next one."""
        now = time.monotonic()
        if now - self._last > 2 * LONGEST_PAUSE:
            self._pauses = waits(FIRST_PAUSE, LONGEST_PAUSE)
        self._last = now
        return next(self._pauses)


def least_runners(settings: Settings) -> int | None:
    """Of the default shape; None = always as many as there are at most."""
    if settings.min_runners is None and settings.max_runners is None:
        return None
    return 1 if settings.min_runners is None else settings.min_runners


def most_runners(settings: Settings, fitting: int) -> int:
    """Of the default shape. fitting: that the cluster has room for now."""
    return settings.runners or settings.max_runners or max(fitting, settings.min_runners or 0, 1)


def _limit_inputs(settings: Settings, store: DriverStore) -> None:
    if settings.max_input_bytes is not None and store.limit_inputs(settings.max_input_bytes):
        log.info("inputs are limited from now on, for all", bytes=settings.max_input_bytes)


def held_bytes(settings: Settings, memory: int) -> int:
    """memory: MiB. What is held is there once more while it is read, and a handler that parses it needs some ten times
    as much, here where the executor is local."""
    share = memory // (32 if settings.executor == "local" else 16)
    return (settings.held_mb or max(8, share)) << 20


def _driver(
    settings: Settings,
    store: DriverStore,
    executor: _Executor,
    info: WorkerInfo,
    observer: Observer,
    earlier: list[str],
) -> Driver:
    shape = Shape(num_cpus=settings.runner_cpus)
    policy = Policy(**{name: getattr(settings, name) for name in Policy._fields})
    options = DriverOptions(
        queues=settings.queues,
        concurrency=settings.concurrency,
        claim_batch=settings.claim_batch,
        poll_interval=settings.poll_interval,
        lease_ttl=settings.lease_ttl,
        heartbeat=settings.heartbeat,
        drain_timeout=settings.drain_timeout,
        schedules=Bounds(settings.schedule_grace, settings.schedule_catch_up),
        default_shape=shape,
        held_bytes=held_bytes(settings, limits_here(1).memory),
        keep=None if settings.retention_days is None else settings.retention_days * 86_400,
        # The deaths up to SUSPECT were of many at once: nobody is condemned by those alone.
        policy=policy._replace(crash_limit=max(policy.crash_limit, SUSPECT)),
        one_process=info.executor == "local",
    )

    def make_pool(notify: Callable[[Any], None]) -> Pool:
        return Pool(
            executor.factory(info.incarnation),
            notify,
            default=shape,
            size=info.runners,
            slots=settings.runner_slots,
            least=least_runners(settings),
            busy=settings.runner_concurrency,
            idle=settings.runner_idle,
            shapes=settings.runner_shapes,
            on_stuck=executor.on_stuck,
        )

    about = {"version": info.version, "executor": info.executor, "concurrency": info.concurrency}
    about |= {"pid": os.getpid(), "host": socket.gethostname(), "queues": list(settings.queues)}
    return Driver(info.incarnation, store, make_pool, _listener(settings), options, about, observer, earlier)


def _listener(settings: Settings) -> Listener | None:
    """Only a connection that stays ours can listen: behind a transaction pooler we poll."""
    url: DatabaseURL | None = settings.direct_url or settings.database_url
    return None if url is None or url.is_transaction_pooler else Listener(url)


@contextmanager
def _drained_by(stop: threading.Event, driver: Driver, systemd: Notifier) -> Iterator[None]:
    """The driver drains when `stop` is set."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if stop.wait(0.2):
                systemd.stopping()
                driver.drain()
                return

    thread = threading.Thread(target=watch, name="stop watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _ended_without(gone: Callable[[], str | None], driver: Driver) -> Iterator[list[str]]:
    """The driver gives everything back when its runners are gone for good. Yields a list: of the reason, then."""
    over, reasons = threading.Event(), list[str]()

    def watch() -> None:
        while not over.wait(LOOK):
            if (reason := gone()) is not None:
                log.error("there will be no runners any more", reason=reason)
                reasons.append(reason)
                driver.drain(at_once=True)
                return

    thread = threading.Thread(target=watch, name="executor watch", daemon=True)
    thread.start()
    try:
        yield reasons
    finally:
        over.set()
        thread.join(LOOK)


@contextmanager
def _executor(settings: Settings) -> Iterator[_Executor]:
    storage = settings.storage_root
    env = environment.collect(settings.secrets, None if storage is None else str(storage))
    if settings.executor == "local":
        make = local_runners(settings.runner_concurrency, settings.max_output_bytes, env)
        yield _Executor(lambda _: make, most_runners(settings, 1), None, lambda: None)
        return
    # Here, since importing Ray takes a second and 60 MB, and must come after the bootstrap has set its environment.
    from dray.cluster import ray_bootstrap

    with ray_bootstrap.running(settings) as cluster:
        from dray.actors.on_ray.offer import say_what_is_missing
        from dray.actors.on_ray.pool import ray_runners

        yield _Executor(
            lambda incarnation: ray_runners(
                incarnation,
                settings.handlers,
                settings.runner_concurrency,
                settings.max_output_bytes,
                settings.log_level,
                env,
            ),
            most_runners(settings, int(cluster.cpus / (settings.runner_cpus or 1.0))),
            say_what_is_missing,
            ray_bootstrap.gone,
        )
