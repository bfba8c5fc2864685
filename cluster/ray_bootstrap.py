"""Starts a Ray of our own on this host, or joins one. With actors/on_ray/pool.py, the only file that imports Ray.

    local        a Ray of this process: gone when the process is, with a token that nobody else knows
    auto         the Ray that this host is a node of (RAY_ADDRESS, else the last one started here)
    host:port    the Ray with its head there; this host must be one of its nodes

Ray reads most of its settings from the environment when it is imported, so this module sets them first and imports Ray
inside start(). Whatever is set already is left alone, with one exception: the processes of a Ray of our own are started
without this process's credentials, which would else stand in /proc/<runner>/environ for every handler to read: those of
the database, and what runners are told in another way (actors/outside/environment.py).

Authentication: RAY_AUTH_MODE is always set, since what Ray does without it differs from command to command. Joining a
cluster uses its token if this host has one (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token), else none. A Ray
of our own needs its token: Ray cannot be kept on 127.0.0.1, and who reaches its ports without one may run code.

start() must be called on a thread that lives as long as Ray shall: the kernel ends Ray's processes with that thread.
"""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from dray.actors.outside.environment import BUILT_IN
from dray.cluster import logs
from dray.cluster.errors import RayMismatch, RayUnavailable
from dray.cluster.settings import PREFIX, Settings

NAMESPACE = "dray"
CONNECT_SECONDS = 5.0
_MIB = 1 << 20

log = logs.get("ray")

# Of every Ray that we start or join.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a FutureWarning for every runner without a GPU
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a forgotten start() must not quietly start a Ray with other settings
}
# Of a Ray of our own: what costs memory or CPU and serves the dashboard, or processes that nobody asked for.
_OWN_ENVIRONMENT = {
    "RAY_prestart_worker_first_driver": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 starves runners beside a busy database
    "RAY_event_stats": "0",
    "RAY_ROTATION_MAX_BYTES": str(10 * _MIB),
    "RAY_ROTATION_BACKUP_COUNT": "1",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}
_OWN_WITHOUT_DASHBOARD = {"RAY_enable_metrics_collection": "0", "RAY_task_events_report_interval_ms": "0"}

_CREDENTIALS = (f"{PREFIX}DATABASE_URL", f"{PREFIX}DIRECT_URL", "DATABASE_URL", "SUPABASE_", "POSTGRES_", "PG")
# What Ray says of a cluster that was started by another Ray or Python: theirs, then ours.
_VERSIONS = re.compile(r"Version mismatch:.*?Ray: (\S+)\s+Python: (\S+).*?Ray: (\S+)\s+Python: (\S+)", re.DOTALL)


class RayCluster(NamedTuple):
    """address: of the head, host:port. cpus: of all nodes now. dashboard: host:port, None without."""

    address: str
    cpus: float
    dashboard: str | None


@contextmanager
def running(settings: Settings) -> Iterator[RayCluster]:
    """start(), and stop() at the end of the block."""
    cluster = start(settings)
    try:
        yield cluster
    finally:
        stop()


def start(settings: Settings) -> RayCluster:
    """Start or join Ray as the settings say; 3 to 6 s for one of our own. Raises RayUnavailable."""
    address = None if settings.ray_address == "local" else settings.ray_address
    _prepare(settings)
    if address not in (None, "auto"):
        _reach(address)
    try:
        with _without_credentials(settings.secrets) if address is None else _unchanged():
            return _init(settings, address)
    except RayUnavailable:
        raise
    except (
        Exception
    ) as error:  # Ray raises whatever its parts raise: ConnectionError, RuntimeError, ValueError, its own
        stop()
        if address is not None and (found := _VERSIONS.search(str(error))):
            raise RayMismatch(address, *found.groups()) from error
        raise RayUnavailable(address, _one_line(error)) from error


def stop() -> None:
    """Leave Ray; one of our own ends, and its processes are gone when this returns. Does nothing if there is none."""
    import ray

    if ray.is_initialized():
        ray.shutdown(wait_for_processes=True)


def gone() -> str | None:
    """Why no runner will ever answer this process again; None = nothing is known that speaks against it.

    A node that was cut off for too long, or whose head began anew, is none of the cluster's any more, and its raylet
    ends. Ray ends workers with it, but not drivers: actors that those start are waited for for ever.
    """
    import ray

    mine = ray.get_runtime_context().get_node_id()
    try:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001  # the head does not answer; after a minute of that Ray ends this process itself
        return None
    if not nodes or any(each["NodeID"] == mine and each["Alive"] for each in nodes):
        return None
    return f"the cluster does not count its node {mine} any more"


def _init(settings: Settings, address: str | None) -> RayCluster:
    import ray
    from ray._private import utils, worker
    from ray.job_config import JobConfig

    # Off the main thread Ray warns that it leaves SIGTERM alone, which is what we want.
    logging.getLogger("ray").setLevel(logging.ERROR)
    # What the cluster tells its drivers (a runner was killed for its memory, nothing fits) Ray prints on stdout, in
    # yellow, whatever log_to_driver says: not where a program's result is expected, nor among lines of JSON.
    worker.print_to_stdstream = _told
    # Ray would end this process with exit code 15 at a SIGTERM that comes while it starts: whoever stops us then has
    # asked for a drain.
    utils.set_sigterm_handler = lambda _: None
    # Under this name Ray's dashboard lists this process, among its jobs.
    config = JobConfig(metadata={"job_name": f"dray driver on {socket.gethostname()}", "dray": version("dray")})
    if address is None:
        with _spared():
            context: Any = ray.init(
                address="local",
                num_cpus=settings.ray_num_cpus or cpus_here(),
                object_store_memory=settings.ray_object_store_mb * _MIB,
                include_dashboard=settings.ray_dashboard,
                namespace=NAMESPACE,
                job_config=config,
                log_to_driver=False,
                configure_logging=False,
                _plasma_directory=_plasma_directory(settings.ray_object_store_mb * _MIB),
            )
    else:
        context = ray.init(
            address=address, namespace=NAMESPACE, job_config=config, log_to_driver=False, configure_logging=False
        )
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    found = str(context.address_info["gcs_address"])
    return RayCluster(found, float(resources.get("CPU", 0.0)), context.dashboard_url or None)


@contextmanager
def _spared() -> Iterator[None]:
    """A Ray of our own without its autoscaler's monitor and its log monitor, which would take 100 MB.

    Nothing here scales, and nobody reads what the log monitor publishes (the dashboard reads the files). `ray start`
    has options for both, ray.init has none in 2.60: the parameters that it makes are changed on the way.
    """
    from ray._private import parameter as module

    parameter: Any = module
    made = parameter.RayParams
    parameter.RayParams = partial(made, no_monitor=True, include_log_monitor=False)
    try:
        yield
    finally:
        parameter.RayParams = made


def _plasma_directory(store: int) -> str | None:
    """Elsewhere where /dev/shm is too small for the store: a container has 64 MB of it unless told otherwise."""
    try:
        found = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return None
    return None if found.f_bavail * found.f_frsize > store else tempfile.gettempdir()


def _told(data: dict[str, Any], ignore_prefix: bool = False) -> None:  # noqa: ARG001 - as Ray calls it
    log.warning("Ray says", text=_cut(" ".join(data.get("lines", ()))))


def _prepare(settings: Settings) -> None:
    """The environment that Ray reads when it is imported."""
    wanted = dict(_ENVIRONMENT)
    if settings.ray_address == "local":
        wanted |= _OWN_ENVIRONMENT
        wanted |= {} if settings.ray_dashboard else _OWN_WITHOUT_DASHBOARD
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    else:
        wanted["RAY_AUTH_MODE"] = "token" if _has_token() else "disabled"
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def _has_token() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or Path("~/.ray/auth_token").expanduser().exists()


def _reach(address: str) -> None:
    """Fails within seconds where Ray itself would try for a minute and write its attempts to stderr."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RayUnavailable(address, _one_line(error)) from error


@contextmanager
def _without_credentials(names: Sequence[str]) -> Iterator[None]:
    told = {*BUILT_IN, *names}
    taken = {name: value for name, value in os.environ.items() if name in told or name.startswith(_CREDENTIALS)}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


@contextmanager
def _unchanged() -> Iterator[None]:
    yield


def cpus_here() -> int:
    """CPUs that this process may use, at least 1. Ray's own count makes 0 of a container with half a CPU."""
    found: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(found, _cgroup_cpus() or found)))


def _cgroup_cpus() -> float | None:
    """The container's limit (cgroup v2, else v1); None = no limit, or none that can be read."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (
                Path("/sys/fs/cgroup/cpu", each).read_text().strip()
                for each in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        except OSError:
            return None
    return int(quota) / int(period) if quota.isdigit() and int(period) > 0 else None


def _one_line(error: BaseException) -> str:
    return _cut(str(error)) or type(error).__name__


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:297]}..."
