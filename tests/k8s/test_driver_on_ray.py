"""k8s/base/driver.sh with a real Ray and a real driver: three pods on one machine, each in a pid namespace of its own.

A pod here is what matters of one to Ray: its own processes, since Ray finds a driver's node by them, and its own
/tmp/ray. Ports are shared, so each is given its own.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from tests.chaos.drivers import driver
from tests.k8s.manifests import K8S
from tests.pg import Sql

pytestmark = [pytest.mark.ray]

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0  # seconds for anything to happen; never waited out when all is well
STARTS = 3
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
BIN = Path(sys.executable).parent
NODES = """
import json, sys
from ray._raylet import GcsClient
found = GcsClient(address=sys.argv[1]).get_all_node_info(timeout=30)
print(json.dumps({each.node_id.hex(): [each.state, dict(each.resources_total)] for each in found.values()}))
"""


def _can_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
    except OSError:
        return False


needs_namespaces = pytest.mark.skipif(not _can_unshare(), reason="no rights to make pid namespaces here")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_until(true: Callable[[], Any], said: Callable[[], str]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, said()
        time.sleep(0.1)


class Pod:
    """A command as the first process of its own pid namespace."""

    def __init__(self, name: str, folder: Path, command: str, **environ: str) -> None:
        self.log = folder / f"{name}.log"
        script = f"mount -t tmpfs none /tmp/ray && exec {command}"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*UNSHARE, "bash", "-c", script],
                cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")[-8000:]

    @property
    def first(self) -> int:
        """Its first process, as it is seen from outside."""
        return children(self.process.pid)[0]

    def pid_of(self, name: str) -> int:
        [found] = [pid for pid in descendants(self.first) if comm(pid) == name]
        return found

    def ended(self) -> int:
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.kill(self.first, signal.SIGKILL)  # and with the first process all others
            self.process.wait()


def children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    return [each for child in children(pid) for each in (child, *descendants(child))]


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Cluster:
    """A head without CPUs and a node of two; pods of drivers beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.pods: list[Pod] = []
        tools = folder / "bin"
        tools.mkdir()
        for name, module in (("ray", "ray.scripts.scripts"), ("dray", "dray")):
            (tools / name).write_text(f'#!/bin/bash\nexec {sys.executable} -m {module} "$@"\n')
            (tools / name).chmod(0o755)
        self.environ = {
            "PATH": f"{tools}:{BIN}:{os.environ['PATH']}", "HOME": str(folder), "PYTHONPATH": str(ROOT),
            "TEST_EFFECTS": str(folder / "effects.jsonl"), "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_prestart_worker_first_driver": "0", "RAY_enable_metrics_collection": "0",
        }  # fmt: skip
        port = self.address.rpartition(":")[2]
        self.pod("head", self.start(f"--head --port={port} --num-cpus=0 --include-dashboard=false", free_port()), 1)
        licence = """--resources='{"licence":1}'"""
        self.pod("worker", self.start(f"--address={self.address} --num-cpus=2 {licence}", free_port()), 2)
        [self.worker] = [node for node, has in self.alive().items() if "licence" in has]

    @staticmethod
    def start(options: str, agent: int) -> str:
        """As the operator writes it, but for the ports and a small object store."""
        return (
            f"ray start {options} --block --dashboard-agent-listen-port={agent} --min-worker-port=0 "
            f"--max-worker-port=0 --object-store-memory={80 << 20}"
        )

    def pod(self, name: str, command: str, nodes: int, **environ: str) -> Pod:
        """Wait until so many Ray nodes live. Ray gives a node 30 s to start, whatever the machine does meanwhile: then
        its pod ends, and is made again, as an operator would."""
        Path("/tmp/ray").mkdir(exist_ok=True)  # what each mounts its own over
        for _ in range(STARTS):
            pod = Pod(name, self.folder, command, **{**self.environ, **environ})
            self.pods.append(pod)
            wait_until(lambda: pod.process.poll() is not None or len(self.alive()) >= nodes, lambda: pod.said)  # noqa: B023
            if pod.process.poll() is None:
                return pod
        raise AssertionError(pod.said)

    def driver(self, name: str, database: str, **settings: str) -> Pod:
        agent = free_port()
        return self.pod(
            name,
            f"bash {K8S / 'base/driver.sh'}",
            len(self.alive()) + 1,
            KUBERAY_GEN_RAY_START_CMD=self.start(f"--address={self.address} --num-cpus=0", agent),
            RAYLET_HEALTH_URL=f"http://127.0.0.1:{agent}/api/local_raylet_healthz",
            RAY_ADDRESS=self.address, DRAY_RAY_ADDRESS="auto", DRAY_DATABASE_URL=database,
            DRAY_HANDLERS="tests.chaos.effects", DRAY_HEALTH_FILE=str(self.folder / f"{name}.json"), **settings,
        )  # fmt: skip

    def alive(self) -> dict[str, dict[str, float]]:
        """id -> resources of the Ray nodes that live."""
        done = subprocess.run(
            [sys.executable, "-c", NODES, self.address], env=self.environ, capture_output=True, text=True
        )
        found = json.loads(done.stdout) if done.returncode == 0 else {}
        return {node: has for node, (state, has) in found.items() if state == 0}

    def stop(self) -> None:
        for pod in reversed(self.pods):
            pod.kill()


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("pods")
    cluster = Cluster(folder)
    yield cluster
    cluster.stop()


def submit(client: Client, node: dict[str, Any]) -> str:
    graph = {"nodes": [{"id": "n", **node}], "edges": []}
    client.apply_workflow("w", canonical(graph, load_handlers(["tests.chaos.effects"])))
    return client.submit("w", {})


def status(client: Client, execution: str) -> str:
    return client.get(execution).status


@needs_namespaces
def test_it_comes_up_runs_on_another_node_and_drains(
    ray: Cluster, database: str, client: Client, sql: Sql, tmp_path: Path
) -> None:
    before = set(ray.alive())
    pod = ray.driver("drained", database, DRAY_RUNNERS="1", DRAY_DRAIN_TIMEOUT="2")
    [first, second] = (
        submit(client, {"type": "effect", "resources": asked}) for asked in (None, {"resources": {"licence": 1}})
    )
    for each in (first, second):
        wait_until(lambda: status(client, each) == "completed", lambda: pod.said)  # noqa: B023
        [attempt] = [attempt for attempt in client.attempts(each) if attempt.kind == "completed"]
        assert attempt.ray_node == ray.worker
    [own] = set(ray.alive()) - before
    held = submit(client, {"type": "hold", "config": {"file": str(tmp_path / "never")}})
    wait_until((tmp_path / "never.began").exists, lambda: pod.said)
    os.kill(pod.first, signal.SIGTERM)
    assert pod.ended() == 0, pod.said
    assert status(client, held) == "queued", "given back"
    assert sql("SELECT count(*) FROM dray.driver WHERE lease_until > now()") == [(0,)]
    wait_until(lambda: own not in ray.alive(), lambda: str(ray.alive()))
    assert set(ray.alive()) == before


@needs_namespaces
def test_the_database_is_not_in_the_environment_of_rays_processes(ray: Cluster, database: str) -> None:
    pod = ray.driver("secretive", database)
    wait_until(
        lambda: pod.process.poll() is not None or "raylet" in map(comm, descendants(pod.first)), lambda: pod.said
    )
    raylet = pod.pid_of("raylet")
    assert b"RAY_AUTH" in Path(f"/proc/{raylet}/environ").read_bytes()
    assert b"DRAY_DATABASE_URL" not in Path(f"/proc/{raylet}/environ").read_bytes()
    os.kill(pod.first, signal.SIGTERM)
    assert pod.ended() in (0, 128 + signal.SIGTERM), pod.said  # a driver that has not begun yet just ends
    wait_until(lambda: len(ray.alive()) == 2, lambda: str(ray.alive()))


@needs_namespaces
def test_a_killed_raylet_ends_the_pod_and_loses_nothing(
    ray: Cluster, database: str, client: Client, tmp_path: Path
) -> None:
    pod = ray.driver("killed", database, DRAY_LEASE_TTL="3", DRAY_HEARTBEAT="0.5", DRAY_DRAIN_TIMEOUT="2")
    execution = submit(client, {"type": "hold", "config": {"file": str(tmp_path / "free")}})
    wait_until((tmp_path / "free.began").exists, lambda: pod.said)
    os.kill(pod.pid_of("raylet"), signal.SIGKILL)
    assert pod.ended() not in (0, None), pod.said
    assert "driver.sh: the Ray node or the driver ended by itself" in pod.said
    assert status(client, execution) in ("queued", "running")
    (tmp_path / "free").touch()
    with driver(database, tmp_path):
        wait_until(lambda: status(client, execution) == "completed", lambda: pod.said)
