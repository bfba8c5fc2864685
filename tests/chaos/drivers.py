"""Drivers as processes of their own, to be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.effects import EFFECTS

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0  # seconds for anything to happen; never waited out when all is well


class DriverProcess:
    """`dray worker` on a database. settings: DRAY_* by their names in lower case."""

    def __init__(self, url: str, folder: Path, **settings: object) -> None:
        given = {
            "database_url": url,
            "executor": "local",
            "handlers": "tests.chaos.effects",
            "lease_ttl": 3,
            "heartbeat": 0.5,
            "log_format": "text",
            **settings,
        }
        self.effects = folder / "effects.jsonl"
        self.log = folder / f"driver-{time.monotonic_ns()}.log"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("DRAY_")}
        environ |= {f"DRAY_{name.upper()}": str(value) for name, value in given.items()}
        environ |= {EFFECTS: str(self.effects), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dray", "worker"],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_ended(self) -> int:
        return self.process.wait(PATIENCE)

    def wait_said(self, text: str) -> None:
        until = time.monotonic() + PATIENCE
        while text not in self.said:
            assert time.monotonic() < until, f"never said {text!r}:\n{self.said}"
            assert self.process.poll() is None, f"ended before it said {text!r}:\n{self.said}"
            time.sleep(0.02)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, to this process only: what it started must notice by itself."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, as a platform stops it; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_ended()


@contextmanager
def driver(url: str, folder: Path, **settings: object) -> Iterator[DriverProcess]:
    started = DriverProcess(url, folder, **settings)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()
