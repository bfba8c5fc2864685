"""A pool on a cluster of a head without CPUs and three nodes, of which one is killed and one is stopped in order.

A program of its own, since a process has one Ray. Prints what it saw as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from tests.ray.conftest import ENVIRONMENT, HANDLERS, LivePool

os.environ.update(ENVIRONMENT)
# How soon a dead node is noticed; Ray's own values make it 15 s and more.
FAST = {"health_check_period_ms": 500, "health_check_timeout_ms": 1000, "health_check_failure_threshold": 3}
STORE = 80 << 20


def main() -> None:
    import ray
    from ray.cluster_utils import Cluster

    from dray.actors.on_ray.pool import ray_runners
    from dray.actors.pool.pool import Shape

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE}
    head["_system_config"] = {**FAST, "health_check_initial_delay_ms": 0}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=3, object_store_memory=STORE) for _ in range(3)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, namespace="dray-tests", log_to_driver=False, configure_logging=False)
    pool = LivePool(ray_runners("0190a5b2", (HANDLERS,), 8, 1 << 20), size=3, slots=8, shape=Shape(1.0))
    seen: dict[str, Any] = {"nodes": [each.node_id for each in nodes]}

    def places() -> list[str]:
        return sorted(pool.infos[each].node_id for each in pool.alive)

    def end(node: Any, in_order: bool) -> dict[str, Any]:
        pool.lost.clear()
        before, runners = places(), set(pool.alive)
        victims = {each for each in runners if pool.infos[each].node_id == node.node_id}
        pool.add("ray.sleeps", count=6)
        of_victims = sum(each["nodes"] for each in pool.pool.runners() if each["runner"] in victims)
        cluster.remove_node(node, allow_graceful=in_order)
        pool.until(lambda: not victims & set(pool.alive))
        pool.until_ready(3)
        return {
            "before": before,
            "after": places(),
            "of_victims": of_victims,
            "lost": sorted(set(pool.lost.values())),
            "lost_count": len(pool.lost),
            "survived": runners - victims <= set(pool.alive),
            "works": len(pool.run("ray.noop", count=100)),
        }

    pool.until_ready(3)
    seen["killed"] = end(nodes[1], in_order=False)
    seen["stopped"] = end(nodes[2], in_order=True)
    pool.pool.stop()
    ray.shutdown()
    cluster.shutdown()
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
