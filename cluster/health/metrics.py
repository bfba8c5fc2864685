"""The driver's counters in the form of Prometheus. Labels have as many values as there are queues, node types and
states, however many executions there are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dray.cluster import logs
from dray.cluster.driver.observer import Observer, Spread
from dray.store.errors import StoreError
from dray.store.records import FINAL

KEEP = 5.0  # seconds in which the database is asked once, however many scrape
QUEUES = 200  # shown of them at most
STATES = ("starting", "ready", "silent", "retiring")
Queue: TypeAlias = tuple[str, dict[str, int], float]

log = logs.get("metrics")


class Metrics(Collector):
    """queues: asks the database. connections: how many there are to it. slots: nodes that one runner takes."""

    def __init__(
        self, observer: Observer, queues: Callable[[], Sequence[Queue]], connections: Callable[[], int], slots: int
    ) -> None:
        self._observer = observer
        self._queues = queues
        self._connections = connections
        self._slots = slots
        self._lock = threading.Lock()
        self._asked: float | None = None
        self._found: Sequence[Queue] | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._of_queues()
        yield from self._counters()
        yield from self._state()

    def describe(self) -> list[Metric]:
        return []  # else registering would ask the database

    def _of_queues(self) -> Iterator[Metric]:
        found = self._ask()
        up = GaugeMetricFamily("dray_database_up", "whether the database answered the last question for these numbers")
        up.add_metric([], float(found is not None))
        yield up
        counts = GaugeMetricFamily("dray_executions", "open executions of the database", labels=["queue", "status"])
        oldest = GaugeMetricFamily(
            "dray_oldest_queued_seconds", "how long the oldest queued execution waits", labels=["queue"]
        )
        for queue, by_status, seconds in (found or ())[:QUEUES]:
            for status, count in by_status.items():
                counts.add_metric([queue, status], count)
            oldest.add_metric([queue], seconds)
        yield counts
        yield oldest

    def _ask(self) -> Sequence[Queue] | None:
        with self._lock:
            if self._asked is None or time.monotonic() - self._asked > KEEP:
                try:
                    self._found = self._queues()
                except StoreError as error:
                    log.warning("cannot count the queues", reason=str(error))
                    self._found = None
                self._asked = time.monotonic()
            return self._found

    def _counters(self) -> Iterator[Metric]:
        seen = self._observer
        yield _counter("dray_claims", "claims that found something", seen.claims)
        yield _counter("dray_executions_claimed", "executions that this driver took", seen.claimed)
        finished = CounterMetricFamily("dray_executions_finished", "executions that ended here", labels=["outcome"])
        for status in sorted(FINAL):
            finished.add_metric([status], seen.finished.get(status, 0))
        yield finished
        nodes = CounterMetricFamily("dray_nodes_finished", "answers of runners", labels=["type", "outcome"])
        for (node_type, outcome), count in list(seen.nodes.items()):
            nodes.add_metric([node_type, outcome], count)
        yield nodes
        durations = HistogramMetricFamily("dray_node_duration_seconds", "time in the handler", labels=["type"])
        for node_type, times in list(seen.durations.items()):
            durations.add_metric([node_type], *_buckets(times))
        yield durations
        commits = HistogramMetricFamily("dray_commit_seconds", "time of one group commit")
        commits.add_metric([], *_buckets(seen.commit_times))
        yield commits
        sizes = HistogramMetricFamily("dray_commit_outcomes", "outcomes that one group commit wrote")
        sizes.add_metric([], *_buckets(seen.commit_sizes))
        yield sizes
        yield _counter("dray_runner_restarts", "runners that ended and were not told to", seen.restarts)

    def _state(self) -> Iterator[Metric]:
        report, now = self._observer.report(), time.monotonic()
        if report["renewed"] is not None:
            yield _gauge("dray_lease_age_seconds", "since the lease was renewed", now - report["renewed"])
        yield _gauge("dray_lease_ttl_seconds", "after that without renewal it is lost", report["lease_ttl"])
        runners = GaugeMetricFamily("dray_runners", "runners of this driver", labels=["state"])
        states = [each["state"] for each in report.get("runners", ())]
        for state in STATES:
            runners.add_metric([state], states.count(state))
        yield runners
        yield _gauge("dray_slots", "nodes that the ready runners take at once", states.count("ready") * self._slots)
        yield _gauge("dray_slots_busy", "nodes in the runners", report.get("in_flight", 0))
        yield _gauge("dray_nodes_waiting", "nodes that no runner has yet", report.get("nodes_waiting", 0))
        yield _gauge("dray_executions_held", "executions that this driver holds", report.get("held", 0))
        blocked = min(report.get("blocked", {}).values(), default=now)
        yield _gauge("dray_blocked_seconds", "for how long nothing goes on that should", max(0.0, now - blocked))
        yield _gauge("dray_turn_age_seconds", "since the driver decided something", max(0.0, now - report["turned"]))
        yield _gauge("dray_database_connections", "open connections of this driver", self._connections())
        yield _gauge("dray_uptime_seconds", "since the process started", now - report["started"])
        build = GaugeMetricFamily("dray_build_info", "the version", labels=["version"])
        build.add_metric([version("dray")], 1)
        yield build


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _buckets(spread: Spread) -> tuple[list[tuple[str, float]], float]:
    found: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, spread.buckets), "+Inf"), list(spread.counts), strict=True):
        total += count
        found.append((bound, total))
    return found, spread.sum
