"""The file in which a driver reports how it is, for `dray health` and `dray runners` on the same machine.

    DRAY_HEALTH_FILE                                that file
    <temporary folder>/dray-<user id>/<pid>.json    where it is not set: one for each driver

Written anew every second and renamed into place, readable for its user only. It names executions, nodes and processes,
and holds no value of theirs and no setting. A driver that cannot write it says so once and goes on.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dray.cluster import logs

EVERY = 1.0  # seconds

log = logs.get("health")


def folder() -> Path:
    return Path(tempfile.gettempdir()) / f"dray-{os.getuid()}"


def born(pid: int) -> str | None:
    """When the process began, as Linux counts it; None where it does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def read(file: Path | None) -> list[dict[str, Any]]:
    """The reports of the drivers that run here. file: DRAY_HEALTH_FILE."""
    ours = sorted(folder().glob("*.json")) if file is None and _is_ours(folder()) else ()
    found = []
    for each in ours if file is None else (file,):
        try:
            report = json.loads(each.read_text(encoding="utf-8"))
            os.kill(report["pid"], 0)
            if report.pop("born", None) not in (None, born(report["pid"])):
                continue  # it was killed, and another process has its number
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it ended, or was killed
        found.append(report)
    return found


class HealthWriter(threading.Thread):
    """Writes report() until it is stopped, and then takes the file away."""

    def __init__(self, file: Path | None, report: Callable[[], dict[str, Any]]) -> None:
        super().__init__(name="health", daemon=True)
        self._file = file or folder() / f"{os.getpid()}.json"
        self._own = file is None
        self._report = report
        self._ended = threading.Event()
        self._told = False
        self._born = born(os.getpid())

    def stop(self) -> None:
        self._ended.set()
        self.join(5.0)

    def run(self) -> None:
        while True:
            self._write()
            if self._ended.wait(EVERY):
                break
        with suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        try:
            if self._own:
                _make(self._file.parent)
            new = self._file.with_name(f".{self._file.name}.{os.getpid()}")
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
                json.dump({**self._report(), "born": self._born}, out)
            new.replace(self._file)
        except (
            OSError,
            RuntimeError,
        ) as error:  # RuntimeError: a look was taken meanwhile; the next one is in a second
            if not self._told:
                self._told = True
                log.warning("cannot write how the driver is", file=str(self._file), reason=str(error))


def _make(path: Path) -> None:
    """A folder of ours in a folder that all may write to."""
    path.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(path):
        raise PermissionError(f"{path} belongs to somebody else: set DRAY_HEALTH_FILE")


def _is_ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
