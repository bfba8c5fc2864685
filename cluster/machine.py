"""What the machine, or the container on it, lets this process have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_MIB = 1 << 20
# cgroup v1 writes "no limit" as the largest multiple of a page.
_UNLIMITED = 1 << 60


class Limits(NamedTuple):
    """memory: MiB, of the container or else the machine. cpus: whole ones, at least 1."""

    memory: int
    cpus: int


def limits_here(cpus: int, root: Path = Path("/sys/fs/cgroup"), machine: int | None = None) -> Limits:
    """cpus: what this process may use (ray_bootstrap counts them). machine: MiB of the machine, asked for if None."""
    if machine is None:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    return Limits(min(machine, _memory(root) or machine), cpus)


def _memory(root: Path) -> int | None:
    """The container's limit in MiB (cgroup v2, else v1); None = no limit, or none that can be read."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        return int(text) // _MIB if text.isdigit() and int(text) < _UNLIMITED else None
    return None
