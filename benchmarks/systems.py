"""What the harness can ask of a measured system, and the peers, which answer from processes of their own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from benchmarks.child import Span
from benchmarks.figures import OUT
from benchmarks.processes import cpu_by_role, tree
from benchmarks.server import Server

ROOT = Path(__file__).parent.parent
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
# The longest that anything asked of a peer may take, in seconds.
PATIENCE = 180.0
STOP_SECONDS = 15.0


class System(Protocol):
    """One system, ready to work. name: as in the figures. database: None = it does not use the server."""

    name: str
    database: str | None

    def prepare(self, bench: str, count: int) -> None:
        """Everything submitted, in a transaction that is not committed yet."""

    def run(self, bench: str, count: int) -> None:
        """Commits what prepare() submitted, and returns when all of it is finished."""

    def span(self, bench: str, count: int) -> Span:
        """Of the last run. Raises SystemFailed unless all of its work was done and is stored."""

    def latencies(self, bench: str, count: int) -> list[float]:
        """Seconds from submit to completed, one at a time on the idle system."""

    def cpu(self) -> Counter[str]:
        """CPU seconds so far by role, without the server's."""

    def ray_calls(self) -> int | None:
        """So far; None = it has no Ray."""

    def close(self) -> None: ...


class SystemFailed(Exception):
    """A measured system did not do its work; one line says what happened."""


class Child:
    """A measured process: requests and answers as in child.py. What it prints otherwise goes to `log`."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True, cwd=ROOT
            )
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, **request: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SystemFailed(self._ended()) from None

    def answer(self) -> dict[str, Any]:
        """The next answer. Raises SystemFailed."""
        try:
            line = self._answers.get(timeout=PATIENCE)
        except queue.Empty:
            raise SystemFailed(f"no answer for {PATIENCE:.0f} s (its output: {self._log})") from None
        if line is None:
            raise SystemFailed(self._ended())
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise SystemFailed(f"{found['error']} (its output: {self._log})")
        return found

    def close(self) -> None:
        """Asks it to end; after 15 s it is killed, with what it started."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for process in reversed(tree(self._process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _ended(self) -> str:
        return f"its process ended with {self._process.wait()} (its output: {self._log})"


class Peer:
    """One or two processes of a module under peers/, on a database of their own."""

    def __init__(self, server: Server, name: str, processes: int, *, on_server: bool = True) -> None:
        self.name = name
        self.database = name if on_server else None
        url = server.database(name) if on_server else ""
        self._children: list[Child] = []
        try:
            for index in range(processes):
                command = [
                    str(PEERS_PYTHON), "-m", f"benchmarks.peers.{name}_peer", "--url", url, "--index", str(index),
                    "--processes", str(processes), "--folder", str(OUT),
                ]  # fmt: skip
                self._children.append(Child(command, OUT / f"{name}-{index}.log"))
                self._children[-1].answer()
        except BaseException:
            self.close()
            raise

    def prepare(self, bench: str, count: int) -> None:
        self._ask(self._children, do="prepare", bench=bench, count=count)

    def run(self, bench: str, count: int) -> None:
        self._ask(self._children, do="run", bench=bench, count=count)

    def span(self, bench: str, count: int) -> Span:
        spans = self._ask(self._children, do="span", bench=bench, count=count)
        return Span(min(each["began"] for each in spans), max(each["ended"] for each in spans))

    def latencies(self, bench: str, count: int) -> list[float]:
        """Of the first process; the other one idles, or helps where it shares the queue."""
        found: list[float] = self._ask(self._children[:1], do="latencies", bench=bench, count=count)[0]["seconds"]
        return found

    def cpu(self) -> Counter[str]:
        return sum((cpu_by_role(child.pid, "processes") for child in self._children), Counter())

    def ray_calls(self) -> int | None:
        return None

    def close(self) -> None:
        for child in self._children:
            child.close()

    def _ask(self, children: list[Child], **request: Any) -> list[dict[str, Any]]:
        for child in children:
            child.send(**request)
        return [child.answer() for child in children]


def peers_missing() -> str | None:
    """What to do if the peers are not installed."""
    return None if PEERS_PYTHON.exists() else f"no {PEERS_PYTHON}: run `make bench-peers`, which installs the peers"


def python() -> str:
    """The interpreter of this process, for children that need Dray."""
    return sys.executable
