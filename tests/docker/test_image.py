"""The image: what is in it, and `dray single` in containers as small as people have."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docker.engine import STAND_IN_POSTGRES, call, dray_image, image, inspect, logs, need_engine, until

pytestmark = pytest.mark.docker
GRAPH = {
    "name": "row",
    "nodes": [
        {"id": "start", "type": "trigger"},
        {"id": "each", "type": "for", "config": {"array_expression": "input.items"}},
        {"id": "mark", "type": "set_variable", "config": {"variable_name": "turn", "variable_value": 1}},
    ],
    "edges": [
        {"from": "start", "to": "each"},
        {"from": "each", "to": "mark", "label": "body"},
        {"from": "mark", "to": "each"},
    ],
}


class Place(NamedTuple):
    network: str
    url: str
    image: str

    def run(self, *options: str, command: tuple[str, ...] = ()) -> str:
        return call(
            "docker", "run", "-d", "--network", self.network, "-e", f"DRAY_DATABASE_URL={self.url}", *options,
            self.image, *command,
        ).strip()  # fmt: skip

    def dray(self, *arguments: str, given: str | None = None) -> str:
        """A command in a container of its own, so that it takes nothing from the one that is tried."""
        return call(
            "docker", "run", "-i", "--rm", "--network", self.network, "-e", f"DRAY_DATABASE_URL={self.url}",
            self.image, "dray", *arguments, given=given,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    need_engine()
    postgres, built = image("POSTGRES_IMAGE", STAND_IN_POSTGRES), dray_image()
    name = f"dray-test-{uuid.uuid4().hex[:8]}"
    call("docker", "network", "create", name)
    database = ""
    try:
        database = call(
            "docker", "run", "-d", "--network", name, "--network-alias", "db", "-e", "POSTGRES_USER=dray", "-e",
            "POSTGRES_PASSWORD=secret", "-e", "POSTGRES_DB=dray", postgres,
        ).strip()  # fmt: skip
        until(lambda: ready(database))
        found = Place(name, "postgresql://dray:secret@db:5432/dray", built)
        found.dray("migrate")
        found.dray("workflow", "apply", "-", given=json.dumps(GRAPH))
        yield found
    finally:
        if database:
            subprocess.run(["docker", "rm", "-f", "-v", database], capture_output=True)
        subprocess.run(["docker", "network", "rm", name], capture_output=True)


def ready(database: str) -> bool:
    command = ["docker", "exec", database, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "dray", "-d", "dray"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def container(place: Place, request: pytest.FixtureRequest) -> Iterator[str]:
    options, *command = request.param
    found = place.run(*options.split(), command=tuple(command))
    try:
        until(lambda: "Workflow worker started" in logs(found) or not inspect(found)["State"]["Running"])
        assert inspect(found)["State"]["Running"], logs(found)[-3000:]
        yield found
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", found], capture_output=True)


def run_all(place: Place, executions: int, nodes: int) -> None:
    """So many executions of so many nodes at once; all succeed."""
    given = json.dumps({"items": list(range(nodes))})
    ids = [place.dray("submit", "row", "--input", given, "--json") for _ in range(executions)]
    assert len(ids) == executions
    until(lambda: counts(place).keys() == {"completed"}, 400)


def counts(place: Place) -> dict[str, int]:
    found: dict[str, int] = json.loads(place.dray("status", "--json"))["queues"].get("default", {})
    return {status: number for status, number in found.items() if number}


def nothing_was_killed(container: str) -> None:
    state = inspect(container)["State"]
    assert state["Running"]
    assert not state["OOMKilled"]
    text = logs(container)
    assert "Ray says" not in text
    assert "runner lost" not in text.lower()


def stopped(container: str) -> int:
    call("docker", "stop", "-t", "60", container)
    code: int = inspect(container)["State"]["ExitCode"]
    return code


def in_image(place: Place, script: str) -> str:
    return call("docker", "run", "--rm", place.image, "sh", "-c", script).strip()


def test_it_runs_as_a_user_without_rights_and_has_no_compiler(place: Place) -> None:
    assert in_image(place, "id -u; id -g").split() == ["1000", "1000"]
    assert in_image(place, "for each in gcc g++ cc clang make ld; do command -v $each; done; true") == ""
    assert inspect(place.image)["Config"]["Healthcheck"]["Test"] == ["CMD", "dray", "health"]


def test_what_is_installed_is_what_the_constraints_pin(place: Place) -> None:
    lines = Path("constraints.txt").read_text().splitlines()
    pinned = {name.lower().replace("_", "-"): version for name, _, version in (each.partition("==") for each in lines)}
    listed = json.loads(in_image(place, "pip list --format json"))
    found = {each["name"].lower().replace("_", "-"): each["version"] for each in listed}
    differing = {name: (version, pinned[name]) for name, version in found.items() if name in pinned}
    assert {name: each for name, each in differing.items() if each[0] != each[1]} == {}
    assert found.keys() - pinned.keys() <= {"dray", "pip", "setuptools"}


@pytest.mark.parametrize("container", [("-m 512m --memory-swap 512m --cpus 0.5",)], indirect=True)
def test_ray_fits_into_half_a_gigabyte_and_half_a_cpu(place: Place, container: str) -> None:
    assert "no Ray dashboard" in logs(container)
    assert "tini" in call("docker", "exec", container, "cat", "/proc/1/comm")
    assert call("docker", "exec", container, "sh", "-c", "cat /proc/[0-9]*/comm | grep -c raylet").strip() == "1"
    run_all(place, 10, 100)
    nothing_was_killed(container)
    assert stopped(container) == 0


@pytest.mark.parametrize("container", [("-m 2g --memory-swap 2g",)], indirect=True)
def test_two_gigabytes_have_the_dashboard(place: Place, container: str) -> None:
    assert "no Ray dashboard" not in logs(container)
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8265/').status)"
    until(lambda: subprocess.run(["docker", "exec", container, "python", "-c", script]).returncode == 0)
    run_all(place, 10, 10)
    nothing_was_killed(container)
    assert stopped(container) == 0


@pytest.mark.parametrize("container", [("-m 256m --memory-swap 256m --cpus 0.5",)], indirect=True)
def test_a_quarter_of_a_gigabyte_is_threads_of_the_driver(place: Place, container: str) -> None:
    assert "too few for Ray" in logs(container)
    assert '"executor": "local"' in logs(container)
    run_all(place, 5, 10)
    nothing_was_killed(container)
    assert stopped(container) == 0
