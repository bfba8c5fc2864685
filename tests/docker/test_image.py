"""The image: what is in it, and `dray single` in containers as small as people have."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.docker.engine import ROOT, build, buildkit, call, inspect, logs, until
from tests.docker.places import Place, a_place, remove, started, stopped

pytestmark = pytest.mark.docker
LONG = 1_000  # nodes


def row(name: str, nodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A workflow of these nodes, one after the other."""
    edges = [{"from": one["id"], "to": other["id"]} for one, other in itertools.pairwise(nodes)]
    return {"name": name, "nodes": list(nodes), "edges": edges}


def marks(count: int) -> list[dict[str, Any]]:
    config = {"variable_name": "turn", "variable_value": 1}
    return [{"id": f"mark-{each}", "type": "set_variable", "config": config} for each in range(count)]


def pause(seconds: float) -> list[dict[str, Any]]:
    config = {"language": "bash", "code": f"sleep {seconds}"}
    return [{"id": each, "type": "code", "config": config} for each in ("one", "other")]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as found:
        for graph in (row("short", marks(10)), row("long", marks(LONG)), row("slow", pause(4))):
            found.apply(graph)
        yield found


@pytest.fixture
def container(place: Place, request: pytest.FixtureRequest) -> Iterator[str]:
    found = place.run(*request.param.split())
    try:
        yield started(found)
    finally:
        remove(found)


def run_all(place: Place, workflow: str, executions: int, nodes: int) -> None:
    """So many executions of so many nodes at once; all succeed."""
    before = recorded(place)
    place.submit(workflow, executions)
    until(lambda: place.statuses().keys() == {"completed"}, 400)
    assert recorded(place) - before == executions * nodes


def recorded(place: Place) -> int:
    """Nodes that were recorded as completed."""
    (found,) = place.sql("SELECT count(DISTINCT (execution_id, node_key)) FROM dray.checkpoint WHERE kind = 'c'")
    return int(found)


def nothing_was_killed(container: str) -> None:
    state = inspect(container)["State"]
    assert state["Running"]
    assert not state["OOMKilled"]
    text = logs(container)
    assert "Ray says" not in text
    assert "runner lost" not in text.lower()


def in_image(place: Place, script: str) -> str:
    return call("docker", "run", "--rm", place.image, "sh", "-c", script).strip()


def test_it_runs_as_a_user_without_rights_and_has_no_compiler(place: Place) -> None:
    assert in_image(place, "id -u; id -g").split() == ["1000", "1000"]
    assert in_image(place, "for each in gcc g++ cc clang make ld; do command -v $each; done; true") == ""
    assert inspect(place.image)["Config"]["Healthcheck"]["Test"] == ["CMD", "dray", "health"]


def test_buildkit_builds_it(place: Place) -> None:
    if buildkit() is None:
        pytest.skip("no BuildKit: the client has no plug-in buildx, and there is no older one, which needs none")
    if os.environ.get("DRAY_IMAGE") == place.image:
        pytest.skip("DRAY_IMAGE is given, so nothing was built")
    assert not inspect(place.image).get("Container"), "BuildKit knows no containers, and what was before it does"


def test_what_is_installed_is_what_the_constraints_pin(place: Place) -> None:
    lines = Path("constraints.txt").read_text().splitlines()
    pinned = {name.lower().replace("_", "-"): version for name, _, version in (each.partition("==") for each in lines)}
    listed = json.loads(in_image(place, "pip list --format json"))
    found = {each["name"].lower().replace("_", "-"): each["version"] for each in listed}
    ours = found.keys() - {"pip", "setuptools"}  # which come with the venv
    differing = {name: (found[name], pinned[name]) for name in ours if name in pinned}
    assert {name: each for name, each in differing.items() if each[0] != each[1]} == {}
    assert found.keys() - pinned.keys() <= {"dray", "pip", "setuptools"}


@pytest.mark.parametrize("container", ["-m 512m --memory-swap 512m --cpus 0.5"], indirect=True)
def test_ray_fits_into_half_a_gigabyte_and_half_a_cpu(place: Place, container: str) -> None:
    assert "no Ray dashboard" in logs(container)
    assert "tini" in call("docker", "exec", container, "cat", "/proc/1/comm")
    assert call("docker", "exec", container, "sh", "-c", "cat /proc/[0-9]*/comm | grep -c raylet").strip() == "1"
    run_all(place, "long", 10, LONG)
    nothing_was_killed(container)
    assert stopped(container) == 0


@pytest.mark.parametrize("container", ["-m 2g --memory-swap 2g --health-interval 5s"], indirect=True)
def test_two_gigabytes_have_the_dashboard(place: Place, container: str) -> None:
    assert "no Ray dashboard" not in logs(container)
    until(lambda: inspect(container)["State"]["Health"]["Status"] == "healthy")
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8265/').status)"
    until(lambda: subprocess.run(["docker", "exec", container, "python", "-c", script]).returncode == 0)
    run_all(place, "short", 10, 10)
    nothing_was_killed(container)
    assert stopped(container) == 0


@pytest.mark.parametrize("container", ["-m 256m --memory-swap 256m --cpus 0.5"], indirect=True)
def test_a_quarter_of_a_gigabyte_is_threads_of_the_driver(place: Place, container: str) -> None:
    assert "too few for Ray" in logs(container)
    assert '"executor": "local"' in logs(container)
    run_all(place, "short", 5, 10)
    nothing_was_killed(container)
    assert stopped(container) == 0


@pytest.mark.parametrize("container", ["-m 512m --memory-swap 512m -e DRAY_DRAIN_TIMEOUT=1"], indirect=True)
def test_stopped_amid_long_nodes_it_gives_everything_back_and_another_goes_on(place: Place, container: str) -> None:
    before, nodes = place.statuses().get("completed", 0), recorded(place)
    place.submit("slow", 5)
    until(lambda: "sleep" in call("docker", "exec", container, "sh", "-c", "cat /proc/[0-9]*/comm; true"), every=0.3)
    assert stopped(container) == 0
    left = place.statuses()
    assert (left.get("completed", 0), left.get("queued"), left.get("running")) == (before, 5, None)
    another = place.run("-m", "256m", "--memory-swap", "256m")
    until(lambda: place.statuses() == {"completed": before + 5})
    nothing_was_killed(another)
    assert recorded(place) - nodes == 10
    remove(another)


HANDLERS = """
import io

import openpyxl

from dray import NodeConfig, NodeContext, handler


class SheetConfig(NodeConfig):
    values: list[int]


@handler("sheet", config=SheetConfig)
def sheet(config: SheetConfig, ctx: NodeContext) -> list[int]:
    book, file = openpyxl.Workbook(), io.BytesIO()
    book.active.append(config.values)
    book.save(file)
    return list(next(openpyxl.load_workbook(file).active.values))
"""


@pytest.fixture(scope="module")
def own(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With the image that the page tells people to build for handlers of their own."""
    page = (ROOT / "docs" / "deploy" / "docker.md").read_text()
    (text,) = re.findall(r"```dockerfile\n(.*?)```", page, re.DOTALL)
    assert text.startswith("FROM dray:latest\n")
    folder, name = tmp_path_factory.mktemp("own"), f"{place.network}:own"
    (folder / "Dockerfile").write_text(text.replace("dray:latest", place.image))
    (folder / "my_handlers.py").write_text(HANDLERS)
    build(str(folder), "-t", name)
    try:
        yield place._replace(image=name)
    finally:
        subprocess.run(["docker", "rmi", name], capture_output=True)


def test_handlers_of_your_own_run_in_an_image_of_your_own(own: Place) -> None:
    own.apply(row("sheets", [{"id": "sheet", "type": "sheet", "config": {"values": [1, 2, 3]}}]))
    container = started(own.run("-m", "512m", "--memory-swap", "512m"))
    run_all(own, "sheets", 1, 1)
    assert own.sql("SELECT outcome FROM dray.checkpoint WHERE node_key = 'sheet'") == ["[1, 2, 3]"]
    nothing_was_killed(container)
    remove(container)
