"""Starting and joining a Ray, each in a process of its own: Ray is one per process."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
PROLOGUE = """
import json, os, signal, sys
from dray.cluster import ray_bootstrap
from dray.cluster.errors import RayUnavailable
from dray.cluster.settings import load
"""


def run(script: str, *, within: Sequence[str] = (), **environ: str) -> Any:
    """What the script prints as JSON on its last line. Neither this session's Ray nor its settings reach it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DRAY_"))}
    done = subprocess.run(
        [*within, sys.executable, "-c", PROLOGUE + script], cwd=ROOT, env={**kept, **environ},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


OWN = """
def ours(number, frame): pass
signal.signal(signal.SIGTERM, ours)
with ray_bootstrap.running(load(ray_num_cpus=3)) as cluster:
    import ray
    @ray.remote
    def look():
        return open("/proc/self/environ").read(), os.nice(0)
    environ, niceness = ray.get(look.remote())
    runner = dict(each.partition("=")[::2] for each in environ.split("\\0"))
    while_up = signal.getsignal(signal.SIGTERM) is ours
    store = ray.cluster_resources()["object_store_memory"]
print(json.dumps({
    "cpus": cluster.cpus, "dashboard": cluster.dashboard, "store": store, "runner": runner, "niceness": niceness,
    "sigterm": while_up, "kept": os.environ["DRAY_DATABASE_URL"], "mode": os.environ["RAY_AUTH_MODE"],
    "token": os.environ["RAY_AUTH_TOKEN"], "up": ray.is_initialized(),
}))
"""


STOPPED_EARLY = """
import threading
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
over = threading.Event()
def send():
    while not over.wait(0.1):
        os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=send, daemon=True).start()
with ray_bootstrap.running(load(ray_num_cpus=1)) as cluster:
    over.set()
print(json.dumps({"told": len(told)}))
"""


def test_a_sigterm_that_comes_while_ray_starts_is_ours_too() -> None:
    assert run(STOPPED_EARLY)["told"] > 1


def test_a_ray_of_our_own_is_as_the_settings_say_and_knows_no_database() -> None:
    credentials = {
        "DRAY_DATABASE_URL": "postgres://u:s3cret@h/d",
        "SUPABASE_DB_PASSWORD": "s3cret",
        "POSTGRES_PASSWORD": "s3cret",
        "PGPASSWORD": "s3cret",
    }
    found = run(OWN, **credentials)
    assert found["cpus"] == 3.0
    assert found["store"] == pytest.approx(80 * 2**20, rel=0.01)
    assert found["dashboard"] is None
    assert "s3cret" not in json.dumps(found["runner"])
    assert found["kept"] == credentials["DRAY_DATABASE_URL"]
    assert (found["mode"], found["runner"]["RAY_AUTH_MODE"], len(found["token"])) == ("token", "token", 64)
    assert found["niceness"] == os.nice(0)
    assert found["sigterm"]
    assert not found["up"]


REFUSED = """
try:
    ray_bootstrap.start(load(ray_address={address!r}))
except RayUnavailable as error:
    print(json.dumps([str(error), os.environ["RAY_AUTH_MODE"]]))
"""


def test_an_unreachable_head_is_one_line() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        message, mode = run(REFUSED.format(address=f"127.0.0.1:{taken.getsockname()[1]}"))
    assert message.startswith("cannot reach Ray at 127.0.0.1:")
    assert "\n" not in message
    assert mode == "disabled"


# Where it sees no other processes, such as those in containers of other tests, and no address that a killed Ray left.
ALONE = (
    "unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
    "sh", "-c", 'mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray && exec "$@"', "sh",
)  # fmt: skip


def a_ray_runs() -> bool:
    """Ray itself looks for one in this way too."""
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"gcs_server" in each.read_bytes():
                return True
    return False


def test_joining_where_no_ray_runs_is_one_line(tmp_path: Path) -> None:
    within = ALONE if subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0 else ()
    if not within and (Path("/tmp/ray/ray_current_cluster").exists() or a_ray_runs()):
        pytest.skip("a Ray of somebody else runs here")
    message, _ = run(REFUSED.format(address="auto"), within=within, HOME=str(tmp_path))
    assert message.startswith("cannot reach Ray at auto: ")
    assert "\n" not in message


def test_a_token_of_this_host_is_used_to_join(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("a" * 64)
    _, mode = run(REFUSED.format(address="127.0.0.1:1"), HOME=str(tmp_path))
    assert mode == "token"


def test_what_the_user_set_is_left_alone() -> None:
    _, mode = run(REFUSED.format(address="127.0.0.1:1"), RAY_AUTH_MODE="token")
    assert mode == "token"


JOINED = """
from ray.cluster_utils import Cluster
os.environ["RAY_AUTH_MODE"] = "disabled"
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
given = cluster.address
found = ray_bootstrap.start(load(ray_address=given))
ray_bootstrap.stop()
cluster.shutdown()
print(json.dumps([found.address.rpartition(":")[2] == given.rpartition(":")[2], found.cpus]))
"""


def test_a_running_cluster_is_joined_by_its_address() -> None:
    assert run(JOINED) == [True, 2.0]


def test_a_killed_driver_leaves_no_ray_behind() -> None:
    script = "cluster = ray_bootstrap.start(load()); print(json.dumps(cluster.address), flush=True); sys.stdin.read()"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DRAY_"))}
    process = subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + script], cwd=ROOT, env=kept,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        host, _, port = json.loads(process.stdout.readline()).rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as head:
            process.send_signal(signal.SIGKILL)
            head.settimeout(30)
            while head.recv(4096):  # until the head's end closes the connection
                pass
    except ConnectionResetError:
        pass
    finally:
        process.kill()
        process.communicate()


MISMATCH = """
from ray.cluster_utils import Cluster
os.environ["RAY_AUTH_MODE"] = "disabled"
cluster = Cluster(initialize_head=True, head_node_args={{"num_cpus": 1, "include_dashboard": False}})
from ray._private import utils
utils.compute_version_info = lambda: {versions}
try:
    ray_bootstrap.start(load(ray_address=cluster.address))
except RayUnavailable as error:
    print(json.dumps([str(error), type(error).__name__]))
from ray._private.worker import global_worker
global_worker.node = None  # half joined, for which the test's own cluster would refuse to end
cluster.shutdown()
"""


@pytest.mark.parametrize(
    ("versions", "fix"),
    [
        (("1.2.3", platform.python_version()), f"pip install 'ray[default]=={version('ray')}' here, or start"),
        ((version("ray"), "3.1.4"), f"Python 3.1.4: run this with Python {platform.python_version()}, or start"),
    ],
)
def test_another_ray_or_python_than_the_clusters_is_refused_with_the_fix(versions: tuple[str, str], fix: str) -> None:
    message, kind = run(MISMATCH.format(versions=repr(versions)))
    assert kind == "RayMismatch"
    assert fix in message
    assert "\n" not in message
