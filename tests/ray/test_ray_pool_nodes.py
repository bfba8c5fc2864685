"""Runners on several Ray nodes, one of which is gone, and on a Ray that loses messages. Programs of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


def run(module: str) -> dict[str, Any]:
    """What the program prints on its last line."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    return run("tests.ray.nodes_scenario")


def test_runners_are_spread_over_the_nodes(seen: dict[str, Any]) -> None:
    assert seen["killed"]["before"] == sorted(seen["nodes"])


def test_a_killed_node_costs_only_its_runners_which_are_replaced_elsewhere(seen: dict[str, Any]) -> None:
    killed = seen["killed"]
    dead = seen["nodes"][1]
    assert killed["of_victims"] == killed["lost_count"] == 2
    [[reason, crash]] = killed["lost"]
    assert reason.startswith(f"its node {dead} died: ")
    assert crash
    assert killed["survived"]
    assert len(killed["after"]) == 3
    assert dead not in killed["after"]
    assert killed["works"] == 100


def test_a_node_stopped_in_order_is_no_crash(seen: dict[str, Any]) -> None:
    stopped = seen["stopped"]
    gone = seen["nodes"][2]
    assert stopped["lost_count"] == stopped["of_victims"] > 0
    assert [crash for _, crash in stopped["lost"]] == [False]
    assert stopped["survived"]
    assert gone not in stopped["after"]
    assert stopped["works"] == 100


def test_lost_messages_lose_no_node() -> None:
    seen = run("tests.ray.lossy_scenario")
    assert seen["done"] + len(seen["lost"]) == seen["added"]
    assert {crash for _, crash in seen["lost"]} <= {False}, "nobody's fault"
    assert {reason for _, reason in seen["ended"]} <= {"messages between it and the driver were lost"}


def test_a_runner_that_eats_all_memory_is_killed_by_ray_and_replaced() -> None:
    seen = run("tests.ray.memory_scenario")
    reason, crash = seen["lost"]
    assert "killed" in reason and "memory" in reason
    assert crash
    assert seen["works"] == 10
