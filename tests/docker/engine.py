"""A Docker engine and its Compose, if this machine has them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN_POSTGRES = "dray-standin/postgres:bookworm"
STAND_IN_PYTHON = "dray-standin/python:bookworm"


def call(*command: str, environ: dict[str, str] | None = None, given: str | None = None, seconds: int = 600) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(environ or {})}, input=given, capture_output=True, text=True,
        timeout=seconds,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@cache
def compose() -> Sequence[str]:
    """The command; skips where there is none."""
    if answers("docker", "compose", "version"):
        return ("docker", "compose")
    if shutil.which("docker-compose") and answers("docker-compose", "version"):
        return ("docker-compose",)
    pytest.skip("no Compose: apt install docker-compose")


def need_engine() -> None:
    if not answers("docker", "version"):
        pytest.skip("no Docker engine answers")


def image(variable: str, stand_in: str) -> str:
    """An image that is there: the one that the variable names, else the stand-in. Skips where neither is."""
    for each in (os.environ.get(variable), stand_in):
        if each and answers("docker", "image", "inspect", each):
            return each
    pytest.skip(f"no image: set {variable}, which names one that this engine has")


@cache
def buildkit() -> str | None:
    """A client that builds by BuildKit, as is the default since Docker 23. It needs the plug-in buildx, or is older."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    clients = [found for each in folders if (found := shutil.which("docker", path=each))]
    return next((each for each in clients if _builds(each)), None)


def _builds(client: str) -> bool:
    command, environ = [client, "build", "-q", "-"], {**os.environ, "DOCKER_BUILDKIT": "1"}
    steps = b"FROM scratch\nLABEL dray.test=buildkit\n"
    return subprocess.run(command, input=steps, env=environ, capture_output=True, timeout=60).returncode == 0


def build(*arguments: str) -> None:
    """By BuildKit where that is possible, else by what was before it. The network is the host's, for pip and apt."""
    client = buildkit()
    environ = {"DOCKER_BUILDKIT": "1" if client else "0"}
    call(client or "docker", "build", "-q", "--network", "host", *arguments, environ=environ, seconds=1200)


@cache
def dray_image() -> str:
    """DRAY_IMAGE, else built from docker/Dockerfile."""
    need_engine()
    given = os.environ.get("DRAY_IMAGE")
    if given and answers("docker", "image", "inspect", given):
        return given
    if not (ROOT / "docker" / "Dockerfile").exists():
        pytest.skip("no image of Dray: set DRAY_IMAGE")
    base = image("BASE_IMAGE", STAND_IN_PYTHON)
    name = "dray:test"
    build("-f", "docker/Dockerfile", "--build-arg", f"BASE_IMAGE={base}", "-t", name, ".")
    return name


def until(what: Callable[[], Any], seconds: float = 240.0, every: float = 1.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came to that"
        time.sleep(every)
    return found


def inspect(container: str) -> Any:
    return json.loads(call("docker", "inspect", container))[0]


def logs(container: str) -> str:
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@cache
def pgbouncer_image() -> str:
    """PGBOUNCER_IMAGE, else the stand-in for Postgres with PgBouncer from Debian in it."""
    given = os.environ.get("PGBOUNCER_IMAGE")
    if given and answers("docker", "image", "inspect", given):
        return given
    base = image("POSTGRES_IMAGE", STAND_IN_POSTGRES)
    name = "dray-pgbouncer:test"
    steps = (
        f"FROM {base}\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends pgbouncer > /dev/null\n"
        "USER postgres\n"
    )
    command = ["docker", "build", "-q", "--network", "host", "-t", name, "-"]
    built = subprocess.run(
        command, input=steps, env={**os.environ, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True, timeout=300
    )
    if built.returncode != 0:
        pytest.skip("no image of PgBouncer: set PGBOUNCER_IMAGE")
    return name
