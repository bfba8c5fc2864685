"""Runs a script, and ends with it everything that it has started. A program of its own, in a process of its own:

    python -I -u supervisor.py LANGUAGE FILE RESULT ALIVE MEMORY CPU SIZE

FILE: the script. RESULT: a file descriptor, for the value of a Python script's variable `result`, as JSON. ALIVE: the
end of a pipe that the runner holds open; when it is closed, by the runner or its death, the script has had its time.
MEMORY, CPU, SIZE: limits of each process, in bytes of address space, seconds, and bytes of a file.

The script is a child in a session of its own, so that `kill 0` in it does not reach this process. On Linux whatever it
leaves behind, daemons too, becomes a child of this process (PR_SET_CHILD_SUBREAPER) and is killed at the end. Its
folder is locked for as long as this process lives: leftovers are known by that.

A Python script runs in a fork of this interpreter: the supervision costs no second start of Python (some 15 ms).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import runpy
import select
import shutil
import signal
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def supervise(script: int, alive: int, folder: Path) -> int:
    """Wait until the script, a process, has ended, or until nobody waits for it any more. Gives its wait status."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    while True:
        for pid, status in reaped():
            if pid == script:
                end_all()
                return status
        ready, _, _ = select.select([awake, alive], [], [])
        if alive in ready:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(script, signal.SIGKILL)
            end_all()
            shutil.rmtree(folder, ignore_errors=True)  # the runner may be dead
            return int(signal.SIGKILL)
        os.read(awake, 1024)


def reaped() -> list[tuple[int, int]]:
    """Process and wait status of each child that has ended, adopted ones too."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while (one := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(one)
    return found


def end_all() -> None:
    """Kill all children until there is none: those of a child that ends become ours."""
    with contextlib.suppress(ChildProcessError):
        while True:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                for pid in children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                os.waitpid(-1, 0)


def children() -> list[int]:
    """Of this process."""
    found = []
    for each in Path("/proc").iterdir() if sys.platform == "linux" else ():
        if each.name.isdigit():
            with contextlib.suppress(OSError):
                if (each / "stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                    found.append(int(each.name))
    return found


def limited(memory: int, cpu: int, size: int) -> None:
    limits = {"RLIMIT_CORE": 0, "RLIMIT_AS": memory, "RLIMIT_CPU": cpu, "RLIMIT_FSIZE": size}
    for name, most in limits.items():
        what = getattr(resource, name)
        with contextlib.suppress(ValueError, OSError):  # one that is lower already, or that this system has not
            resource.setrlimit(what, (most, most))


def run(language: str, file: str, result: int) -> None:
    """The child becomes the script, or, for Python, runs it and ends as a program does."""
    if language == "bash":
        os.execvp("bash", ["bash", file])  # noqa: S606, S607 - the script's own PATH
    sys.argv = [file]
    names = runpy.run_path(file, run_name="__main__")
    if "result" in names:
        with os.fdopen(result, "w", encoding="utf-8") as out:
            json.dump(names["result"], out)


def main() -> None:
    language, file, (result, alive, memory, cpu, size) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
    folder = Path(file).parent
    lock = os.open(folder, os.O_RDONLY)  # closed by exec, and below in a fork that execs nothing
    fcntl.flock(lock, fcntl.LOCK_EX)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    script = os.fork()
    if script == 0:
        os.setsid()
        os.close(lock)
        os.close(alive)
        limited(memory, cpu, size)
        run(language, file, result)
        return
    status = supervise(script, alive, folder)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:  # end as it has ended
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
