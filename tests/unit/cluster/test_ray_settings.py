"""How many CPUs a Ray of our own is given."""

from __future__ import annotations

import os

import pytest

from cluster import ray_bootstrap


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
