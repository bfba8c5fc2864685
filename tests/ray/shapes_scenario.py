"""Handlers that ask for a GPU, for a resource of the cluster's own and for a label, on a cluster of two kinds of nodes.

The GPU is only a number that the node says it has. A program of its own, since a process has one Ray. Prints what it
saw as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

from tests.ray.conftest import ENVIRONMENT, HANDLERS, LivePool

os.environ.update(ENVIRONMENT)
STORE = 80 << 20


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.fields: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "runners wait for a place in the cluster":
            self.fields.append(record.fields)  # type: ignore[attr-defined]


def main() -> None:
    import ray
    from ray.cluster_utils import Cluster

    from dray.actors.on_ray.offer import say_what_is_missing
    from dray.actors.on_ray.pool import ray_runners
    from dray.actors.pool.pool import Shape, shape_of
    from dray.actors.registry import load_handlers
    from dray.cluster.graph.canonical import canonical
    from dray.cluster.graph.load import load

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE}
    )
    plain = cluster.add_node(num_cpus=4, labels={"zone": "a"}, object_store_memory=STORE)
    special = cluster.add_node(
        num_cpus=4, num_gpus=1, resources={"licence": 1}, labels={"zone": "b"}, object_store_memory=STORE
    )
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, namespace="dray-tests", log_to_driver=False, configure_logging=False)
    heard = Heard()
    logging.getLogger("dray.pool").addHandler(heard)
    default = Shape(1.0)
    # idle: what one shape's runners hold of what there is once, the next shape waits for.
    pool = LivePool(
        ray_runners("0190a5b2", (HANDLERS,), 8, 1 << 20),
        size=2, slots=1, shape=default, on_stuck=say_what_is_missing, idle=2.0,
    )  # fmt: skip
    handlers = load_handlers([HANDLERS])
    pool.until_ready(2)
    seen: dict[str, Any] = {
        "plain": plain.node_id,
        "special": special.node_id,
        "default": sorted(pool.infos[each].node_id for each in pool.alive),
    }
    for node_type in ("ray.licensed", "ray.in_zone_b", "ray.on_gpu"):
        # Two, for what the cluster has once (a GPU, a licence): the second runner waits and the first does both.
        ids = pool.add(node_type, count=2, shape=shape_of(handlers[node_type], default))
        pool.until(lambda: all(each in pool.results for each in ids))  # noqa: B023
        places = {pool.infos[pool.by[each]].node_id for each in ids}
        seen[node_type] = [sorted(places), [pool.results[each].output for each in ids]]
    # The same from a graph, for a handler that asks for nothing.
    for name, resources in (
        ("gpu", {"num_gpus": 0.5}),
        ("licence", {"resources": {"licence": 1}, "concurrency": 2}),
        ("label", {"label_selector": {"zone": "!a"}}),
        ("memory", {"memory": "64MiB", "num_cpus": 2, "label_selector": {"zone": "in(a)"}}),
    ):
        nodes = [{"id": name, "type": "ray.where", "config": {}, "resources": resources}]
        [node] = load(1, "w", 1, canonical({"nodes": nodes, "edges": []}, handlers)).root.nodes
        ids = pool.add("ray.where", count=2, shape=shape_of(handlers["ray.where"], default, node.asks))
        pool.until(lambda: all(each in pool.results for each in ids))  # noqa: B023
        places = {pool.infos[pool.by[each]].node_id for each in ids}
        seen[name] = [sorted(places), [pool.results[each].output for each in ids]]
    refused = Shape(1.0, labels=(("no label", "!!"),), at_once=1)
    pool.add("ray.noop", shape=refused)
    seen["after_refusal"] = len(pool.run("ray.noop", count=2))
    pool.add("ray.noop", shape=Shape(1.0, resources=(("quantum", 1.0),), labels=(("zone", "a"),)))
    pool.until(lambda: any("quantum" in each["each_asks_for"] for each in heard.fields))
    seen["said"] = next(each for each in heard.fields if "quantum" in each["each_asks_for"])
    pool.pool.stop()
    ray.shutdown()
    cluster.shutdown()
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
