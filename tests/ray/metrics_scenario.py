"""A Ray with its dashboard, started as `dray worker` starts one, and two runners that have run some nodes. Says so as a
line of JSON and waits to be told to end."""

from __future__ import annotations

import json
import os
import sys

from tests.ray.conftest import HANDLERS, LivePool


def main() -> None:
    from dray.cluster import ray_bootstrap
    from dray.cluster.settings import load

    with ray_bootstrap.running(load(ray_dashboard=True, ray_num_cpus=2)) as cluster:
        import ray
        from ray.util import state

        from dray.actors.on_ray.pool import ray_runners
        from dray.actors.pool.pool import Shape

        pool = LivePool(ray_runners("0190a5b2", (HANDLERS,), 2, 1 << 20), size=1, slots=8, shape=Shape(0.5))
        pool.run("ray.echo", count=20)
        pool.run("ray.raises", count=3)
        pool.run("ray.wait_a_minute", count=2)
        for number in range(3):
            pool.run(f"made up {number}")
        pool.run("ray.speaks")
        [threads] = pool.run("ray.threads")
        assert "metrics" in json.loads(threads.output or "")
        pool.run("ray.sleeps", '{"seconds": 0.05}')  # the only one whose time is surely more than 0 ms
        pool.add("ray.sleeps", '{"seconds": 3600}', count=3, timeout=3600.0)  # two at once
        told = {"address": f"http://{cluster.dashboard}", "detail": True}
        [node] = ray.nodes()
        context = ray.get_runtime_context()
        line = {
            "metrics": f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics",
            "session": context.get_session_name(), "temp": "/tmp/ray",
            "dashboard": told["address"], "token": os.environ["RAY_AUTH_TOKEN"], "pid": os.getpid(),
            "runners": [info._asdict() for info in pool.infos.values()],
            "actors": [vars(each) for each in state.list_actors(**told)],
            "jobs": [{"pid": each.driver_info.pid, "entrypoint": each.entrypoint, "metadata": each.metadata}
                     for each in state.list_jobs(**told)],
        }  # fmt: skip
        sys.stdout.write(json.dumps(line, default=str) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        pool.pool.stop()


if __name__ == "__main__":
    main()
