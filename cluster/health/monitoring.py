"""What runs beside a driver and watches it: the health file, the HTTP port, and the end of a bounded run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from dray.cluster import logs
from dray.cluster.driver.observer import Observer
from dray.cluster.health.file import HealthWriter
from dray.cluster.health.http_port import HttpPort
from dray.cluster.health.judge import judge
from dray.cluster.settings import Settings
from dray.store.driver_store import DriverStore
from dray.store.errors import StoreError

SOON = 5.0  # seconds: what is due within them is waited for before a bounded run ends
LOOK = 1.0  # seconds between two looks
MARGIN = 5.0  # seconds that Ray and the threads may take to end after the drain

log = logs.get("worker")


class Bounded(NamedTuple):
    """When a run ends by itself.

    drain: once nothing is left to do. until: on time.monotonic(), all has ended by then.
    """

    drain: bool = False
    until: float | None = None


FOR_EVER = Bounded()


@contextmanager
def monitored(settings: Settings, observer: Observer, store: DriverStore) -> Iterator[None]:
    """The driver is watched from outside. Raises PortTaken."""
    with ExitStack() as stack:
        writer = HealthWriter(settings.health_file, observer.report)
        writer.start()
        stack.callback(writer.stop)
        if settings.http_port is not None:
            from dray.cluster.health.metrics import (
                Metrics,  # prometheus_client takes a while to import, and most do without
            )

            metrics = Metrics(observer, store.queue_stats, store.open_connections, settings.runner_slots)
            port = HttpPort(
                settings.http_host, settings.http_port,
                lambda: judge(observer.report(), time.monotonic(), settings.stuck_after), metrics.text,
            )  # fmt: skip
            stack.callback(port.stop)
            log.info("HTTP port open", host=settings.http_host, port=port.port)
        yield


@contextmanager
def ended_in_time(
    bounded: Bounded, settings: Settings, observer: Observer, store: DriverStore, stop: threading.Event
) -> Iterator[None]:
    """`stop` is set when the run is to end. The drain begins so early that all of it fits before bounded.until."""
    if not bounded.drain and bounded.until is None:
        yield
        return
    last = None if bounded.until is None else bounded.until - settings.drain_timeout - MARGIN
    over = threading.Event()

    def watch() -> None:
        while not (over.wait(LOOK) or stop.is_set()):
            if last is not None and time.monotonic() >= last:
                log.info("the time of this run is over")
                stop.set()
            elif bounded.drain and observer.phase == "running" and not _left(settings, observer, store):
                log.info("nothing is left to do")
                stop.set()

    thread = threading.Thread(target=watch, name="bounded run", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5.0)


def _left(settings: Settings, observer: Observer, store: DriverStore) -> bool:
    try:
        return store.work_left(observer.incarnation, settings.queues, SOON)
    except StoreError as error:
        log.warning("cannot see whether something is left to do", reason=str(error))
        return True
