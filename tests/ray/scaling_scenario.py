"""A pool on a Ray that starts and ends nodes by demand: from none to what is needed, and back to none.

A program of its own, since a process has one Ray. Prints what it saw as JSON; exits with 77 where no such Ray starts.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.ray.conftest import ENVIRONMENT, HANDLERS, LivePool
from tests.ray.scaling import ScalingRay

os.environ.update(ENVIRONMENT)
STORE = 80 << 20
PATIENCE = 150.0


def main(folder: str) -> None:
    import ray

    from dray.actors.on_ray.pool import ray_runners
    from dray.actors.pool.pool import Shape

    try:
        cluster = ScalingRay(Path(folder), STORE)
    except (OSError, RuntimeError) as error:
        sys.stdout.write(f"{error}\n")
        sys.exit(77)
    ray.init(address=cluster.address, namespace="dray-tests", log_to_driver=False, configure_logging=False)
    pool = LivePool(
        ray_runners("0190a5b2", (HANDLERS,), 8, 1 << 20), size=2, slots=8, shape=Shape(1.0), least=0, busy=1, idle=5.0
    )

    def nodes() -> int:
        return sum(each["Alive"] for each in ray.nodes())

    def until(true: Callable[[], bool]) -> bool:
        end = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > end:
                return False
            pool.turn()
        return True

    seen: dict[str, Any] = {"nodes": [nodes()], "runners": [len(pool.alive)]}
    ids = pool.add("ray.sleeps", '{"seconds": 3}', count=2)
    seen["grown"] = until(lambda: len(pool.alive) > 0)
    seen["added"] = nodes() > 1
    seen["done"] = until(lambda: set(ids) <= set(pool.results))
    seen["shrunk"] = until(lambda: not pool.pool.runners())
    seen["given_back"] = until(lambda: nodes() == 1)
    pool.pool.stop()
    ray.shutdown()
    cluster.stop()
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as found:
        main(found)
