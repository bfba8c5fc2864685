from __future__ import annotations

from pathlib import Path

import pytest

from dray.cluster.machine import Limits, limits_here
from dray.cluster.settings import load
from dray.cluster.single import LEAST_FOR_DASHBOARD, LEAST_FOR_RAY, size


def sized(memory: int, cpus: int = 1, *chosen: str) -> dict[str, object]:
    return size(Limits(memory, cpus), set(chosen)).values


def test_half_a_gigabyte_is_ray_without_its_dashboard_and_says_so() -> None:
    found = size(Limits(512, 1), set())
    assert "executor" not in found.values
    assert found.values["ray_dashboard"] is False
    assert found.values["runners"] == 1
    assert found.values["ray_object_store_mb"] == 80
    assert any("no Ray dashboard" in line and "512" in line for line in found.told)


def test_too_little_for_ray_is_the_local_executor_and_says_so() -> None:
    found = size(Limits(LEAST_FOR_RAY - 1, 1), set())
    assert found.values["executor"] == "local"
    assert "too few for Ray" in found.told[0]
    assert "executor" not in sized(LEAST_FOR_RAY)


@pytest.mark.parametrize(("memory", "there"), [(LEAST_FOR_DASHBOARD - 1, False), (1907, True), (2048, True)])
def test_the_dashboard_begins_at_two_gigabytes_however_they_are_counted(memory: int, there: bool) -> None:
    assert sized(memory)["ray_dashboard"] is there


def test_runners_are_as_many_as_cpus_and_memory_allow() -> None:
    assert sized(2048, 8)["runners"] == 8
    assert sized(2048, 64)["runners"] == 13
    assert sized(16_384, 4)["runners"] == 4


def test_in_a_small_container_outputs_are_smaller() -> None:
    assert sized(512)["max_output_bytes"] == 1 << 20
    assert "max_output_bytes" not in sized(1024)
    assert "max_output_bytes" not in sized(512, 1, "max_output_bytes")


def test_the_object_store_grows_with_memory_up_to_a_bound() -> None:
    assert sized(8192)["ray_object_store_mb"] == 409
    assert sized(1 << 20)["ray_object_store_mb"] == 1024


def test_what_somebody_chose_is_left_alone() -> None:
    found = size(Limits(256, 1), {"executor", "concurrency", "runners", "ray_dashboard"})
    assert not {"executor", "concurrency", "runners", "ray_dashboard"} & found.values.keys()
    assert found.told == ()


@pytest.mark.parametrize("memory", [64, 480, 512, 1024, 2048, 65_536])
def test_every_size_makes_settings_that_fit_together(memory: int) -> None:
    load(**sized(memory, 4))


def test_the_limit_of_cgroup_v2_and_v1_is_read(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("536870912\n")
    assert limits_here(2, tmp_path, machine=8000) == Limits(512, 2)
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("268435456\n")
    assert limits_here(2, tmp_path, machine=8000).memory == 256


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n", "10485760000\n", "nonsense"])
def test_no_limit_is_the_machine(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.max").write_text(text)
    assert limits_here(1, tmp_path, machine=8000).memory == 8000
    assert limits_here(1, tmp_path / "none", machine=8000).memory == 8000
