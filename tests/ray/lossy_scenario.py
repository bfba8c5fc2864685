"""A pool on a Ray that loses messages: two calls, or the answers to them. Prints what it saw as JSON.

A program of its own, since Ray reads what to lose when it is imported.
"""

from __future__ import annotations

import json
import os
import sys
import time

from tests.ray.conftest import ENVIRONMENT, HANDLERS, LivePool

LOSSES = 2
PERCENT = {"req_failure_prob": 30, "resp_failure_prob": 30, "in_flight_failure_prob": 0}
CHAOS = {"CoreWorkerService.grpc_client.PushTask": {"num_failures": LOSSES, **PERCENT}}
os.environ.update(ENVIRONMENT, RAY_testing_rpc_failure=json.dumps(CHAOS))
SECONDS = 6.0  # in which both are lost, most of the time


def main() -> None:
    import ray

    from dray.actors.on_ray import pool as ray_pool
    from dray.actors.pool.pool import Shape

    ray.init(
        address="local", num_cpus=1, include_dashboard=False, object_store_memory=80 << 20, namespace="dray-tests",
        log_to_driver=False, configure_logging=False,
    )  # fmt: skip
    ray_pool.LATE = 1.0  # no batch is large here
    pool = LivePool(ray_pool.ray_runners("0190a5b2", (HANDLERS,), 8, 1 << 20), size=1, slots=8, shape=Shape(0.0))
    until = time.monotonic() + SECONDS
    added = 0
    while time.monotonic() < until and len(pool.ended) < LOSSES:
        ids = pool.add("ray.noop", count=4)
        added += len(ids)
        pool.until(lambda: all(each in pool.results or each in pool.lost for each in ids))  # noqa: B023
    pool.until_ready(1)
    seen = {"added": added, "done": len(pool.results), "lost": list(pool.lost.values()), "ended": pool.ended}
    pool.pool.stop()
    ray.shutdown()
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
