"""Several Ray nodes, several drivers: work is shared, and a lost node or driver costs only what ran there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client, Execution
from tests.chaos.drivers import PATIENCE, ROOT, driver
from tests.pg import Sql

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

# Another process, so that the cluster is not this process's one Ray: a line to it kills the second of its three nodes.
CLUSTER = """
import os, sys
os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", RAY_enable_metrics_collection="0",
                  RAY_prestart_worker_first_driver="0")
from ray.cluster_utils import Cluster
fast = {"health_check_period_ms": 500, "health_check_timeout_ms": 1000, "health_check_failure_threshold": 3,
        "health_check_initial_delay_ms": 0}
cluster = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20, "_system_config": fast})
nodes = [cluster.add_node(num_cpus=2, object_store_memory=80 << 20) for _ in range(3)]
cluster.wait_for_nodes()
print(cluster.address, nodes[1].node_id, flush=True)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(nodes[1], allow_graceful=False)
        print("killed", flush=True)
cluster.shutdown()
"""


class RayCluster:
    """A head without CPUs and three nodes of two CPUs, all on this machine. doomed: the node that can be killed."""

    def __init__(self, log: Path) -> None:
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CLUSTER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TEST_EFFECTS": str(log.parent / "effects.jsonl")},
            )
        self.address, _, self.doomed = self._answer().partition(" ")
        assert self.address, log.read_text()

    def kill_the_doomed(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self._answer() == "killed"

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        try:
            self.process.communicate("", timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    found = RayCluster(tmp_path_factory.mktemp("cluster") / "cluster.log")
    yield found
    found.stop()


def graph(count: int, seconds: float = 0.0) -> dict[str, Any]:
    ids = [f"n{index}" for index in range(count)]
    return {
        "nodes": [{"id": each, "type": "effect", "config": {"seconds": seconds}} for each in ids],
        "edges": [{"from": a, "to": b} for a, b in pairwise(ids)],
    }


def submit(client: Client, source: dict[str, Any], count: int) -> list[str]:
    client.apply_workflow("spread", canonical(source, load_handlers(["tests.chaos.effects"])))
    return client.submit_many("spread", [{} for _ in range(count)])


def wait_finished(client: Client, ids: list[str], at_least: int) -> None:
    until = time.monotonic() + PATIENCE
    while sum(each.status == "completed" for each in finished(client, ids)) < at_least:
        assert time.monotonic() < until, Counter(each.status for each in finished(client, ids))
        time.sleep(0.05)


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def finished(client: Client, ids: list[str]) -> list[Execution]:
    return client.list(workflow="spread", limit=len(ids) + 1)


def test_two_drivers_share_the_work_and_one_of_them_is_killed_half_way(
    cluster: RayCluster, database: str, client: Client, sql: Sql, tmp_path: Path
) -> None:
    on_ray = {"executor": "ray", "ray_address": cluster.address, "concurrency": 100, "claim_batch": 50, "runners": 3}
    by_driver = "SELECT r.driver FROM dray.checkpoint c JOIN dray.runner r ON r.id = c.runner GROUP BY 1"
    with driver(database, tmp_path, **on_ray) as first, driver(database, tmp_path, **on_ray) as second:
        wait_until(lambda: len(sql("SELECT id FROM dray.driver")) == 2)
        ids = submit(client, graph(3), 2_000)
        until = time.monotonic() + PATIENCE
        while len(sql(by_driver)) < 2:  # the first may have done it all before the second has a runner
            assert time.monotonic() < until, second.said
            if all(each.status == "completed" for each in finished(client, ids)):
                ids += submit(client, graph(3), 500)
            time.sleep(0.2)
        ids += submit(client, graph(3), 500)
        first.kill()
        wait_finished(client, ids, len(ids))
        assert second.stop() == 0, second.said
    rows = sql(
        "SELECT c.execution_id::text, count(DISTINCT r.driver), count(*), max(e.claim_count) FROM dray.checkpoint c "
        "JOIN dray.runner r ON r.id = c.runner JOIN dray.execution e ON e.id = c.execution_id WHERE c.kind = 'c' "
        "GROUP BY 1"
    )
    assert len(rows) == len(ids)
    assert {count for _, _, count, _ in rows} == {3}, "each node is recorded once"
    assert all(drivers == 1 for _, drivers, _, claims in rows if claims == 1), "one driver at a time"


def test_a_killed_ray_node_costs_only_its_runners(
    cluster: RayCluster, database: str, client: Client, sql: Sql, tmp_path: Path
) -> None:
    def nodes_of(condition: str) -> set[str]:
        return {node for (node,) in sql(f"SELECT node_id FROM dray.runner WHERE {condition}")}

    ids = submit(client, graph(4, seconds=0.05), 100)
    with driver(
        database, tmp_path, executor="ray", ray_address=cluster.address, runners=6, runner_concurrency=4, runner_slots=8
    ) as running:
        wait_until(lambda: cluster.doomed in nodes_of("ended IS NULL") and len(nodes_of("ended IS NULL")) > 1)
        ids += submit(client, graph(4, seconds=0.05), 200)
        wait_finished(client, ids, 130)
        cluster.kill_the_doomed()
        wait_finished(client, ids, 300)
        running.wait_said("runner ended")
        wait_until(lambda: cluster.doomed not in nodes_of("ended IS NULL"))
        assert nodes_of("ended IS NOT NULL") == {cluster.doomed}
        # Replaced elsewhere, as far as there is room.
        wait_until(lambda: sql("SELECT count(*) FROM dray.runner WHERE ended IS NULL") == [(4,)])
        assert running.stop() == 0, running.said
    for each in ids:
        done = [attempt for attempt in client.attempts(each) if attempt.kind == "completed"]
        assert sorted(attempt.node_key for attempt in done) == ["n0", "n1", "n2", "n3"]
        assert all(attempt.runner and attempt.ray_node for attempt in done), "an attempt says where it ran"
