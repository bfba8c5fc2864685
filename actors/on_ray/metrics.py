"""What a runner tells Ray's metrics: its node's agent adds `ray_`, to counters `_total`, and serves all to Prometheus.

    dray_runner_nodes_running, _waiting   gauges
    dray_runner_nodes                     counter, by type and outcome
    dray_runner_node_seconds_bucket       a histogram by type, made of counters with `le` ...
    dray_runner_node_seconds_sum          ... and the time of all of them

Not Ray's own Histogram, which takes one value at a time (8 us, and as much again in the agent, which plays each of them
again) and has sums that are made up from the middles of buckets. So a second's nodes are added up here and told in a
few calls, by a thread of their own.

Tags are fixed for a runner, but for types and outcomes. Ray adds WorkerId, so each runner has numbers of its own, and
the agent keeps counters as long as the Ray node lives.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ray.util.metrics import Counter, Gauge

from dray.actors.runner.tally import BOUNDS, Row, Seen

EVERY = 1.0  # seconds; Ray passes on what it has every 10, and forgets a gauge that is not set again meanwhile
LABELS = (*(f"{each:g}" for each in BOUNDS), "+Inf")
_SWITCH = "RAY_enable_metrics_collection"
_OFF = frozenset({"0", "false"})

_log = logging.getLogger("dray.runner")


def are_on() -> bool:
    """Whether this Ray collects metrics. A small one does not (cluster/ray_bootstrap.py)."""
    return os.environ.get(_SWITCH, "1").lower() not in _OFF


class Instruments(NamedTuple):
    running: Any
    waiting: Any
    nodes: Any
    buckets: Any
    seconds: Any


class Reporter:
    """look: takes what was counted since the last time. tags: of everything, e.g. the runner's name."""

    def __init__(self, look: Callable[[], Seen], tags: Mapping[str, str]) -> None:
        self._look = look
        self._tags = dict(tags)

    def start(self) -> None:
        threading.Thread(target=self._work, name="metrics", daemon=True).start()

    def _work(self) -> None:
        try:
            instruments = self._make()
            while True:
                tell(instruments, self._look())
                time.sleep(EVERY)
        except Exception as error:  # noqa: BLE001  # whatever Ray raises: nodes run without metrics too
            _log.warning("this runner tells Ray no metrics any more: %s: %s", type(error).__name__, error)

    def _make(self) -> Instruments:
        def made(kind: Any, name: str, text: str, *tags: str) -> Any:
            made = kind(f"dray_runner_{name}", text, (*self._tags, *tags))
            return made.set_default_tags(self._tags)

        return Instruments(
            made(Gauge, "nodes_running", "handlers that run in this runner"),
            made(Gauge, "nodes_waiting", "nodes that this runner has and has not begun"),
            made(Counter, "nodes", "nodes that ended in this runner", "type", "outcome"),
            made(Counter, "node_seconds_bucket", "nodes whose handler took up to le seconds", "type", "le"),
            made(Counter, "node_seconds_sum", "time in handlers", "type"),
        )


def tell(to: Instruments, seen: Seen) -> None:
    to.running.set(seen.running)
    to.waiting.set(seen.waiting)
    for node_type, row in seen.rows.items():
        _tell_row(to, node_type, row)


def _tell_row(to: Instruments, node_type: str, row: Row) -> None:
    for outcome, count in row.outcomes.items():
        to.nodes.inc(count, {"type": node_type, "outcome": outcome})
    total = 0
    for bound, count in zip(LABELS, row.counts, strict=True):
        total += count
        if total:  # Ray takes no zero
            to.buckets.inc(total, {"type": node_type, "le": bound})
    if row.milliseconds:
        to.seconds.inc(row.milliseconds / 1000, {"type": node_type})
