"""CPU time and memory of process trees, from /proc. Linux only.

Not psutil: a tree of twenty processes is read in a millisecond here, beside the run that is measured.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """seconds: of CPU, its own and that of its children that have ended."""

    pid: int
    parent: int
    seconds: float


def cpu_by_role(root: int, role: str, *, without: frozenset[int] = frozenset()) -> Counter[str]:
    """CPU seconds so far of a process and all below it. `role` names the root and what is not Ray's; below a driver
    "runners" are Ray's actor processes, "ray" the rest of Ray. without: processes to leave out."""
    found: Counter[str] = Counter()
    for process in tree(root):
        if process.pid not in without:
            found[_role(process.pid, role)] += process.seconds  # type: ignore[assignment]
    return found


def tree(root: int) -> list[Process]:
    """The process and all below it that live now."""
    children: dict[int, list[Process]] = {}
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a hundred times a run
        if entry.isdigit() and (process := _read(int(entry))) is not None:
            children.setdefault(process.parent, []).append(process)
            if process.pid == root:
                found.append(process)
    for process in found:
        found += children.get(process.pid, ())
    return found


def resident_mb(pid: int) -> float:
    """Resident memory without the pages that are shared with files and other processes."""
    _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(resident) - int(shared)) * _PAGE / 1e6


def _read(pid: int) -> Process | None:
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)


def _role(pid: int, role: str) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return role
    if command.startswith(b"ray::"):
        return "ray" if command.startswith(b"ray::IDLE") else "runners"
    return "ray" if b"site-packages/ray/" in command else role
