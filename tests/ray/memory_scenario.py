"""A handler that eats memory until Ray kills its runner. Prints what the pool saw as JSON.

A program of its own, since Ray reads its limit when it is started: so much more than what is in use now, that other
programs of this machine may take some of it meanwhile.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.ray.conftest import ENVIRONMENT, HANDLERS, LivePool

ROOM = 3 << 20  # KiB, or a third of what is left


def limit() -> float:
    """The part of all memory above which Ray kills."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {name: int(value) for name, value, *_ in lines}
    left = kib["MemAvailable:"]
    return (kib["MemTotal:"] - left + min(ROOM, left // 3)) / kib["MemTotal:"]


def main() -> None:
    os.environ.update(ENVIRONMENT, RAY_memory_usage_threshold=f"{limit():.4f}", RAY_memory_monitor_refresh_ms="50")
    import ray

    from dray.actors.on_ray.pool import ray_runners
    from dray.actors.pool.pool import Shape

    ray.init(
        address="local", num_cpus=1, include_dashboard=False, object_store_memory=80 << 20, namespace="dray-tests",
        log_to_driver=False, configure_logging=False,
    )  # fmt: skip
    pool = LivePool(ray_runners("0190a5b2", (HANDLERS,), 8, 1 << 20), size=1, slots=8, shape=Shape(0.0))
    [eater] = pool.add("ray.eats")
    pool.until(lambda: eater in pool.lost)
    seen = {"lost": pool.lost[eater], "works": len(pool.run("ray.noop", count=10))}
    pool.pool.stop()
    ray.shutdown()
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
