"""Runners with a GPU, with a resource of the cluster's own and on labelled nodes; and a Ray that grows and shrinks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.ray.test_ray_pool_nodes import ROOT, run

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    return run("tests.ray.shapes_scenario")


@pytest.mark.parametrize("node_type", ["ray.on_gpu", "ray.licensed", "ray.in_zone_b"])
def test_a_handler_runs_where_its_node_of_the_cluster_has_what_it_asks_for(
    seen: dict[str, Any], node_type: str
) -> None:
    places, outputs = seen[node_type]
    assert places == [seen["special"]]
    assert len(outputs) == 2


def test_a_handler_that_asks_for_a_gpu_is_given_it(seen: dict[str, Any]) -> None:
    assert seen["ray.on_gpu"][1] == ['"0"', '"0"']


@pytest.mark.parametrize("name", ["gpu", "licence", "label"])
def test_a_node_runs_where_its_graph_says(seen: dict[str, Any], name: str) -> None:
    places, outputs = seen[name]
    assert places == [seen["special"]]
    assert len(outputs) == 2


def test_a_node_is_given_the_gpu_that_its_graph_asks_for(seen: dict[str, Any]) -> None:
    assert {json.loads(each)["gpu"] for each in seen["gpu"][1]} == {"0"}


def test_nodes_share_a_runner_where_their_graph_says(seen: dict[str, Any]) -> None:
    assert len({json.loads(each)["pid"] for each in seen["licence"][1]}) == 1


def test_a_graph_may_ask_for_several_things_at_once(seen: dict[str, Any]) -> None:
    assert seen["memory"][0] == [seen["plain"]]


def test_what_ray_does_not_take_at_all_is_not_the_end_of_the_driver(seen: dict[str, Any]) -> None:
    assert seen["after_refusal"] == 2


def test_what_the_cluster_cannot_give_is_said_with_what_there_is(seen: dict[str, Any]) -> None:
    said = seen["said"]
    assert said["each_asks_for"] == "1 CPU, 1 quantum, label zone=a"
    assert said["runners"] == 1
    assert "1 GPU" in said["nodes"]
    assert "label zone=a" in said["nodes"]
    assert "1 licence" in said["nodes"]


def test_ray_adds_nodes_for_runners_and_takes_them_away_again() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.ray.scaling_scenario"],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=700,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip(f"no Ray that scales starts here: {done.stdout.strip()[-300:]}")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen.pop("nodes") == [1]
    assert seen.pop("runners") == [0]
    assert all(seen.values()), seen
