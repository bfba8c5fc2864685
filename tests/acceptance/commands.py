"""The command `dray` in real processes, as a person or a script would use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PLATFORM = ("DRAY_", "RAY_", "SUPABASE_", "POSTGRES_", "DATABASE_URL", "WORKFLOW_", "ENVIRONMENT")
SECONDS = 120


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line on stderr."""
        (line,) = self.err.splitlines()
        assert line.startswith("dray: ")
        return line.removeprefix("dray: ")


class Shell:
    """Runs commands with an environment of their own. folder: where, and the data folder of `dray dev`."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith(PLATFORM)}
        self.environ = {**clean, "PYTHONPATH": str(ROOT), "DRAY_DATA_DIR": str(folder / "data"), **environ}

    def __call__(self, *arguments: str, given: str | None = None, **environ: str) -> Done:
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env={**self.environ, **environ},
            input=given or "", capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "dray", *arguments]

    @contextmanager
    def running(self, *arguments: str, **environ: str) -> Iterator[Running]:
        """A command that goes on until it is told to stop."""
        process = Running(self.command(*arguments), self.folder, {**self.environ, **environ})
        try:
            yield process
        finally:
            process.end()


class Running:
    """A command in a session of its own, which is read line by line so that it never waits for us."""

    def __init__(self, command: list[str], folder: Path, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, env=environ, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, words: str, after: int = 0) -> str:
        """The first line that holds the words, behind the first so many lines."""

        def found() -> bool:
            return any(words in line for line in self.lines[after:]) or not self._reader.is_alive()

        with self._changed:
            self._changed.wait_for(found, SECONDS)
        return next((line for line in self.lines[after:] if words in line), "") or self._fail(words)

    def _fail(self, words: str) -> str:
        raise AssertionError("\n".join([f"{words!r} was not said, but:", *self.lines]))

    def stop(self, number: int = signal.SIGINT, code: int = 0) -> None:
        """Sends the signal to the whole group, as a terminal does with Ctrl-C, and expects a quiet end."""
        os.killpg(self.process.pid, number)
        found = self.process.wait(SECONDS)
        self._reader.join(10)
        told = "\n".join(self.lines)
        assert (found, "Traceback" in told) == (code, False), told

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def descendants(self) -> dict[int, str]:
        """Process number -> start time of every process that this one started, and those started."""
        parents = {pid: (parent, began) for pid, parent, began in _processes()}
        found = {self.process.pid: ""}
        while new := {pid: began for pid, (parent, began) in parents.items() if parent in found and pid not in found}:
            found.update(new)
        return {pid: began for pid, began in found.items() if began}


def alive(processes: dict[int, str]) -> list[int]:
    """Those that still run."""
    now = {pid: began for pid, _, began in _processes()}
    return [pid for pid, began in processes.items() if now.get(pid) == began]


def _processes() -> Iterator[tuple[int, int, str]]:
    """Number, parent and start time of every process that is no zombie."""
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                fields = (each / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                yield int(each.name), int(fields[1]), fields[19]
