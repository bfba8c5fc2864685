"""How many CPUs a Ray of our own is given, and how many runners there are."""

from __future__ import annotations

import os

import pytest

from dray.cluster import ray_bootstrap
from dray.cluster.app import least_runners, most_runners
from dray.cluster.errors import SettingsInvalid
from dray.cluster.settings import load


@pytest.mark.parametrize(
    ("affinity", "limit", "expected"),
    [(8, None, 8), (8, 2.5, 2), (8, 0.5, 1), (1, None, 1), (2, 16.0, 2)],
)
def test_cpus_are_those_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, affinity: int, limit: float | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)), raising=False)
    monkeypatch.setattr(ray_bootstrap, "_cgroup_cpus", lambda: limit)
    assert ray_bootstrap.cpus_here() == expected


@pytest.mark.parametrize(
    ("given", "fitting", "least", "most"),
    [
        ({}, 6, None, 6),
        ({}, 0, None, 1),
        ({"runners": 3}, 6, None, 3),
        ({"max_runners": 9}, 6, 1, 9),
        ({"min_runners": 0}, 6, 0, 6),
        ({"min_runners": 8}, 6, 8, 8),
        ({"min_runners": 0, "max_runners": 2}, 0, 0, 2),
    ],
)
def test_a_pool_is_of_a_fixed_size_unless_a_limit_is_set(
    given: dict[str, int], fitting: int, least: int | None, most: int
) -> None:
    settings = load(**given)
    assert (least_runners(settings), most_runners(settings, fitting)) == (least, most)


@pytest.mark.parametrize("given", [{"runners": 2, "max_runners": 4}, {"min_runners": 5, "max_runners": 4}])
def test_limits_of_a_pool_that_contradict_each_other_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(SettingsInvalid, match="DRAY_MIN_RUNNERS"):
        load(**given)
