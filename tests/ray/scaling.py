"""A Ray that starts and ends nodes by demand, all on this machine.

ray.cluster_utils.AutoscalingCluster does the same, but it stops every Ray of the machine first, those of other tests
too, and reads a file that Ray's wheel does not have.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"  # which that provider of nodes expects
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
START = 120.0  # seconds
EMPTY: dict[str, Any] = {
    "auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [], "file_mounts_sync_continuously": False,
    "rsync_exclude": [], "rsync_filter": [], "initialization_commands": [], "setup_commands": [],
    "head_setup_commands": [], "worker_setup_commands": [], "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}  # fmt: skip


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


class ScalingRay:
    """A head without CPUs, and up to two machines of one CPU each. Raises RuntimeError if it does not start."""

    def __init__(self, folder: Path, store: int) -> None:
        port, client_port = free_ports()
        host = socket.gethostbyname(socket.gethostname())
        self.address = f"{host}:{port}"
        config = EMPTY | {
            "cluster_name": "test",
            "max_workers": 2,
            "provider": {
                "type": "external",
                "module": PROVIDER,
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
                "launch_multiple": True,
                "head_node_id": HEAD_ID,
                "gcs_address": self.address,
            },
            "available_node_types": {
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "machine": {
                    "resources": {"CPU": 1, "object_store_memory": store},
                    "node_config": {},
                    "min_workers": 0,
                    "max_workers": 2,
                },
            },
            "head_node_type": "ray.head.default",
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 0.05,
        }
        file = folder / "scaling.json"
        file.write_text(json.dumps(config))
        self._log = folder / "head.log"
        command = [
            str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}", "--num-cpus=0",
            f"--node-ip-address={host}", f"--object-store-memory={store}", "--include-dashboard=false",
            f"--ray-client-server-port={client_port}", "--disable-usage-stats", f"--autoscaling-config={file}",
        ]  # fmt: skip
        settings = {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=log)
        until = time.monotonic() + START
        while "Ray runtime started" not in self._log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(self._log.read_text(errors="replace")[-1_000:])
            time.sleep(0.2)

    def stop(self) -> None:
        """`ray start --block` ends what it has started; the other nodes end when the head is gone."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
