"""What a driver tells about itself: counters and a look at its state, for `dray health`, `dray runners` and /metrics.

The thread that decides and the committer write here, others read. A counter is a plain addition, without a lock; the
look at pool and executions is taken by the thread that decides, at most once a second, and handed over whole.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dray.actors.messages import NodeResult
from dray.actors.pool.pool import News, Pool
from dray.actors.registry import HANDLERS
from dray.cluster import logs
from dray.cluster.driver.threads import Threads
from dray.cluster.driver.timers import Timers
from dray.cluster.execution.run import ExecutionRun
from dray.store.records import FINAL, Settlement

LOOK = 1.0  # seconds between two looks
TASKS_SHOWN = 5  # of one runner, the oldest
COMMIT_SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)  # outcomes
BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # seconds

log = logs.get("driver")


class Spread:
    """A histogram: how often a value fell into each of the buckets, the last one for what is longer."""

    def __init__(self, buckets: Sequence[float] = BUCKETS) -> None:
        self.buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.buckets, value)] += 1
        self.sum += value


class Parts(NamedTuple):
    """Of the driver that is looked at. tasks: number -> (execution, node, attempt)."""

    pool: Pool
    threads: Threads
    timers: Timers
    runs: Mapping[str, ExecutionRun]
    tasks: Mapping[int, tuple[ExecutionRun, int, int]]


class Observer:
    """One for each process that drives, whatever number of incarnations it goes through."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.started = clock()
        self.phase = "starting"
        self.incarnation = ""
        self.lease_ttl = 0.0
        self.turned = self.progressed = self.started
        self.claims = self.claimed = self.commits = self.restarts = 0
        self.finished: dict[str, int] = defaultdict(int)
        self.nodes: dict[tuple[str, str], int] = defaultdict(int)
        self.durations: dict[str, Spread] = defaultdict(Spread)
        self.commit_times = Spread()
        self.commit_sizes = Spread(COMMIT_SIZES)
        self.seen: dict[str, Any] = {}  # the last look
        self._parts: Parts | None = None
        self._infos: dict[int, tuple[str, str, str, int]] = {}  # runner -> name, host, Ray node, process
        self._since: dict[int, float] = {}  # number of a task that was seen -> when first
        self._next_look = 0.0
        self._marks: dict[str, tuple[float, float]] = {}  # what should go on and does not -> since when, what it was

    # Told by the driver

    def begin(self, incarnation: str, lease_ttl: float, parts: Parts) -> None:
        """A new incarnation drives."""
        self.incarnation, self.lease_ttl, self._parts = incarnation, lease_ttl, parts
        self._infos, self._since, self._marks = {}, {}, {}
        self.turned = self.progressed = self._clock()
        self.phase = "running"

    def waits(self) -> None:
        """Nothing is driven for now: the process starts, or waits for its database."""
        self.phase, self._parts, self.seen = "starting", None, {}

    def drains(self) -> None:
        self.phase = "draining"

    def turn(self, now: float) -> None:
        """The end of a turn of the thread that decides."""
        self.turned = now
        if now >= self._next_look and self._parts is not None:
            self._next_look = now + LOOK
            self._look(self._parts, now)

    def takes(self, executions: int) -> None:
        self.claims += 1
        self.claimed += executions
        self.progressed = self._clock()

    def collected(self, node_type: str, result: NodeResult) -> None:
        """What a runner answered."""
        name = node_type if node_type in HANDLERS else "unknown"  # types come from people's graphs
        self.nodes[name, result.outcome] += 1
        self.durations[name].add(result.duration_ms / 1000)

    def pool_news(self, news: News) -> None:
        for number, info in news.ready:
            self._infos[number] = (info.name, info.host, info.node_id, info.pid)
        if news.results:
            self.progressed = self._clock()
        if self.phase != "draining":
            self.restarts += len(news.ended)

    def wrote(self, outcomes: int, seconds: float) -> None:
        """One transaction of the committer."""
        self.commits += 1
        self.commit_sizes.add(outcomes)
        self.commit_times.add(seconds)
        self.progressed = self._clock()

    def ended(self, run: ExecutionRun, settlement: Settlement) -> None:
        """An execution was given back: it has ended, or is parked, or queued again."""
        parked = settlement.status not in FINAL
        if not parked:
            self.finished[settlement.status] += 1
        fields = {"execution": run.id, "workflow": run.graph.name}
        if settlement.error:
            fields["error"] = settlement.error
        if settlement.wake_in is not None:
            fields["seconds"] = f"{settlement.wake_in:.3g}"
        (log.debug if parked else log.info)(f"execution {settlement.status}", **fields)

    # Looked at

    def _look(self, parts: Parts, now: float) -> None:
        members = parts.pool.runners()
        since: dict[int, float] = {}
        runners = []
        for each in members:
            doing = []
            for number in each["tasks"][:TASKS_SHOWN]:
                if (task := parts.tasks.get(number)) is not None:
                    run, node, attempt = task
                    since[number] = self._since.get(number, now)
                    doing.append([run.id, run.scopes.key(node), attempt, since[number]])
            name, host, ray_node, pid = self._infos.get(each["runner"], ("", "", "", 0))
            state = "starting" if each["database_id"] is None else "retiring" if each["retiring"] else "ready"
            runners.append({
                "runner": name, "host": host, "ray_node": ray_node, "pid": pid,
                "state": "silent" if each["silent"] else state, "nodes": each["nodes"], "doing": doing,
            })  # fmt: skip
        self._since = since
        self._infos = {each["runner"]: self._infos[each["runner"]] for each in members if each["runner"] in self._infos}
        uncommitted = not parts.threads.committer.idle
        idle = not (parts.pool.in_flight or parts.pool.waiting or uncommitted or parts.timers.next is not None)
        troubles = parts.threads.patience.troubles
        self._note("nothing is committed", uncommitted and "commit" not in troubles, now, self.commits)
        self._note("executions are held and nothing is done for them", bool(parts.runs) and idle, now, self.progressed)
        self.seen = {
            "held": len(parts.runs), "in_flight": parts.pool.in_flight, "nodes_waiting": parts.pool.waiting,
            "short": parts.pool.short(), "runners": runners,
            "unready": None if parts.pool.default.proved else parts.pool.default.trouble,
            "blocked": {what: at for what, (at, _) in self._marks.items()}, "troubles": troubles,
        }  # fmt: skip

    def _note(self, what: str, blocked: bool, now: float, progress: float) -> None:
        """blocked counts from when it began, or from when `progress` last changed."""
        marks = self._marks
        if not blocked:
            marks.pop(what, None)
        elif what not in marks or marks[what][1] != progress:
            marks[what] = (now, progress)

    def report(self) -> dict[str, Any]:
        """All that `dray health` and `dray runners` need, as JSON can hold it. Times are of time.monotonic()."""
        parts = self._parts
        return {
            "pid": os.getpid(), "written": self._clock(), "started": self.started, "phase": self.phase,
            "incarnation": self.incarnation, "turned": self.turned, "progressed": self.progressed,
            "lease_ttl": self.lease_ttl, "renewed": None if parts is None else parts.threads.keeper.renewed,
            **self.seen,
        }  # fmt: skip
