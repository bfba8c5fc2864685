"""What a driver is told."""

from __future__ import annotations

from typing import NamedTuple

from dray.actors.pool.shapes import Shape
from dray.cluster.driver.scheduler import Bounds
from dray.cluster.execution.attempts import Policy


class DriverOptions(NamedTuple):
    """Times in seconds; see cluster/settings.py for the meaning of each. one_process: nodes run in the driver's."""

    queues: tuple[str, ...]
    concurrency: int
    claim_batch: int
    poll_interval: float
    lease_ttl: float
    heartbeat: float
    drain_timeout: float
    default_shape: Shape
    policy: Policy
    keep: float | None = None
    held_bytes: int = 1 << 30
    schedules: Bounds = Bounds()
    one_process: bool = False


class Drain(NamedTuple):
    """Take no more; finish what runs, unless at_once."""

    at_once: bool = False
