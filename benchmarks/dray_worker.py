"""The measured Dray: the production worker in a process of its own. `python -m benchmarks.dray_worker --url ...`

Settings are the defaults but for the handlers. Stops when its input ends.

    (when it is ready)        -> {"ready": pid}
    {"do": "ray_calls"}       -> {"ray_calls": so far, null without Ray}
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from benchmarks.child import answers_on_stdout, options
from dray.cluster import logs
from dray.cluster.app import WorkerInfo, run_worker
from dray.cluster.settings import load


def main() -> None:
    given = options()
    answers = answers_on_stdout()
    stop = threading.Event()

    def ready(_: WorkerInfo) -> None:
        answers.write(json.dumps({"ready": os.getpid()}) + "\n")

    def listen() -> None:
        for line in sys.stdin:
            if json.loads(line)["do"] == "ray_calls":
                answers.write(json.dumps({"ray_calls": _ray_calls()}) + "\n")
        stop.set()

    settings = load(database_url=given.url, handlers="benchmarks.handlers", log_level="WARNING")
    logs.setup(settings.log_level, settings.log_format)
    threading.Thread(target=listen, daemon=True).start()
    run_worker(settings, stop=stop, on_ready=ready)


def _ray_calls() -> Any:
    pool = sys.modules.get("dray.actors.on_ray.pool")
    return None if pool is None else pool.RayRunner.calls


if __name__ == "__main__":
    main()
