"""How `dray single` fits a Ray and a driver into the container that it runs in: limits -> settings.

The driver starts Ray itself, as `dray worker` does with a local Ray: one tree of processes that ends with the driver.
A supervisor beside it would cost 30 MB and could do little more: the container's restart policy
starts both again, and PID 1 (tini) reaps.

Only what nobody set is sized: an option or a variable wins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from dray.cluster.machine import Limits, limits_here

# In MiB. LEAST_FOR_RAY is the least that was tried and held (docs/deploy/docker.md); less was not tried.
LEAST_FOR_RAY = 480
# 2 GB as a platform may count them: 2,000,000,000 bytes are 1,907 MiB.
LEAST_FOR_DASHBOARD = 1_900
SMALL = 1_000
RAY_ALONE = 400
DASHBOARD = 205
RUNNER = 110


class Sized(NamedTuple):
    """values: settings by name. told: lines for the log."""

    values: dict[str, Any]
    told: tuple[str, ...]


def size(limits: Limits, chosen: Set[str]) -> Sized:
    """chosen: the names of the settings that somebody set; they stay as they are."""
    values: dict[str, Any] = {}
    told: list[str] = []
    if limits.memory < LEAST_FOR_RAY and "executor" not in chosen:
        values["executor"] = "local"
        told.append(
            f"{limits.memory} MiB of memory are too few for Ray, which needs {LEAST_FOR_RAY}: handlers run as threads "
            "of the driver (executor local)"
        )
    dashboard = limits.memory >= LEAST_FOR_DASHBOARD
    if "executor" not in values:
        values["ray_dashboard"] = dashboard
        if not dashboard and not {"ray_dashboard", "executor"} & chosen:
            told.append(
                f"no Ray dashboard and no metrics of runners: they need {LEAST_FOR_DASHBOARD} MiB of memory, here are "
                f"{limits.memory}; DRAY_RAY_DASHBOARD=true starts both all the same"
            )
    values["ray_num_cpus"] = limits.cpus
    values["ray_object_store_mb"] = min(1024, max(80, limits.memory // 20))
    room = limits.memory - RAY_ALONE - (DASHBOARD if dashboard else 0)
    values["runners"] = max(1, min(limits.cpus, room // RUNNER))
    if limits.memory < SMALL:
        # Each execution held and each handler that runs is memory; the platform's guide runs 10 at once here.
        values |= {"runner_concurrency": 16, "runner_slots": 64, "concurrency": 100, "claim_batch": 50}
        values["max_output_bytes"] = 1 << 20
    return Sized({name: value for name, value in values.items() if name not in chosen}, tuple(told))


def here(given: Mapping[str, Any]) -> Sized:
    """For this process. given: what the command line says, by name; None = it does not say."""
    from dray.cluster.ray_bootstrap import cpus_here
    from dray.cluster.settings import PLATFORM_NAMES, PREFIX, Settings

    chosen = {
        name
        for name in Settings.model_fields
        if given.get(name) is not None
        or os.environ.get(PREFIX + name.upper())
        or os.environ.get(PLATFORM_NAMES.get(name, ""))
    }
    return size(limits_here(cpus_here()), chosen)
