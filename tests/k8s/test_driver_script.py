"""k8s/base/driver.sh with a Ray node and a driver that are only shells: what ends what, and in which order."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.manifests import K8S

PATIENCE = 60
LIVES = """#!/bin/bash
trap 'echo {name} stops >> "$SAID"; exit {code}' TERM
echo "{name} starts ${{DRAY_DATABASE_URL:-without a database}}" >> "$SAID"
while true; do sleep 0.05; done
"""


class _Well(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def well() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Well)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


class Pod:
    def __init__(self, folder: Path, health: str, ray: str, dray: str) -> None:
        self.said = folder / "said"
        self.said.touch()
        program(folder / "ray", ray)
        program(folder / "dray", dray)
        environment = os.environ | {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "SAID": str(self.said),
            "KUBERAY_GEN_RAY_START_CMD": "ray start --address=dray-head-svc:6379 --num-cpus=0 --block ",
            "RAYLET_HEALTH_URL": health,
            "DRAY_DATABASE_URL": "the-database",
        }
        self.process = subprocess.Popen(["bash", str(K8S / "base/driver.sh")], env=environment)

    def wait_for(self, line: str) -> None:
        until = time.monotonic() + PATIENCE
        while line not in self.said.read_text():
            assert time.monotonic() < until, self.said.read_text()
            time.sleep(0.02)

    def ended(self) -> int:
        return self.process.wait(PATIENCE)


def test_the_driver_drains_before_its_ray_node_goes(tmp_path: Path, well: str) -> None:
    pod = Pod(tmp_path, well, LIVES.format(name="ray", code=1), LIVES.format(name="dray", code=0))
    pod.wait_for("dray starts")
    pod.process.send_signal(signal.SIGTERM)
    assert pod.ended() == 0
    assert pod.said.read_text().splitlines() == [
        "ray starts without a database",
        "dray starts the-database",
        "dray stops",
        "ray stops",
    ]


def test_a_driver_that_ends_takes_its_ray_node_along(tmp_path: Path, well: str) -> None:
    pod = Pod(tmp_path, well, LIVES.format(name="ray", code=0), '#!/bin/bash\necho gone >> "$SAID"\nexit 0\n')
    assert pod.ended() == 1
    assert pod.said.read_text().splitlines()[-2:] == ["gone", "ray stops"]


def test_a_ray_node_that_ends_takes_the_driver_along(tmp_path: Path, well: str) -> None:
    waits = '#!/bin/bash\nuntil grep -q "dray starts" "$SAID"; do sleep 0.05; done\nexit 0\n'
    pod = Pod(tmp_path, well, waits, LIVES.format(name="dray", code=0))
    assert pod.ended() == 1
    assert pod.said.read_text().splitlines()[-1] == "dray stops"


def test_a_ray_node_that_never_comes_up_ends_the_pod(tmp_path: Path) -> None:
    pod = Pod(tmp_path, "http://127.0.0.1:9/", "#!/bin/bash\nexit 3\n", LIVES.format(name="dray", code=0))
    assert pod.ended() == 1
    assert pod.said.read_text() == ""


def test_told_to_stop_while_it_starts_it_stops(tmp_path: Path) -> None:
    pod = Pod(tmp_path, "http://127.0.0.1:9/", LIVES.format(name="ray", code=1), LIVES.format(name="dray", code=0))
    pod.wait_for("ray starts")
    pod.process.send_signal(signal.SIGTERM)
    assert pod.ended() == 0
    assert "dray" not in pod.said.read_text()
