"""Runs a Python or Bash script in a process of its own: what the node types code, catch and finally have in common.

The script gets its input as JSON on stdin, and nothing else: PATH, HOME and LANG are its whole environment, HOME is its
empty working directory, deleted afterwards. Limits: seconds, CPU seconds, memory (address space per process), MAX_FILE
per file, no core dumps.

stdin, stdout and stderr are unnamed files, not pipes: nothing can fill up or be held open by a process left behind,
memory stays bounded however much is printed, and what was printed can be read after a kill.

This is not a sandbox. The script runs as the runner's user, with its network; it can read what that user can read,
/proc included. Untrusted code needs a pool whose runners have no rights of their own.

supervisor.py runs it, and ends with it whatever it has started, at its end, at its time-out, and when the runner dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from pathlib import Path
from typing import IO, Any, NamedTuple

from dray.actors.errors import NodeError, TimedOut
from dray.actors.outside.foreign import json_of, text_of

MAX_OUTPUT = 1 << 20  # bytes of each of stdout, stderr and result
MAX_FILE = 64 << 20  # bytes of each file the script writes, stdout and stderr included

SUPERVISOR = Path(__file__).with_name("supervisor.py")
PREFIX = "dray-code-"  # of the folders
UNUSED = 60.0  # seconds after which a folder that no supervisor has locked counts as left over
ENDS_WITHIN = 5.0  # seconds that a supervisor may take to end what it supervises


class Script(NamedTuple):
    """language: python or bash. given: any JSON value, on stdin; None = empty. memory_mb: MiB."""

    text: str
    language: str = "python"
    given: Any = None
    seconds: float = 30.0
    memory_mb: int = 512


async def run_script(script: Script) -> dict[str, Any]:
    """{"stdout", "stderr", "exit_code", "result", "duration_ms", "truncated"}. Raises NodeError unless it exits with 0.

    result: the value of the Python script's variable `result` if it sets one, else stdout parsed as JSON, else None.
    truncated: whether stdout or stderr was longer than MAX_OUTPUT and is cut.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        file = folder / f"main.{'py' if script.language == 'python' else 'sh'}"
        file.write_text(script.text, encoding="utf-8", errors="replace")
        with contextlib.ExitStack() as files:
            stdin, stdout, stderr, result = (files.enter_context(tempfile.TemporaryFile()) for _ in range(4))
            if script.given is not None:
                stdin.write(json.dumps(script.given).encode())
                stdin.seek(0)
            started = time.monotonic()
            exit_code = await _run(script, file, stdin, stdout, stderr, result)
            if exit_code != 0:
                raise NodeError(f"{script.language} code {_ending(exit_code)}: {_last_lines(stderr)}")
            return {
                "stdout": _text(stdout),
                "stderr": _text(stderr),
                "exit_code": exit_code,
                "result": _result(result, stdout),
                "duration_ms": round((time.monotonic() - started) * 1000),
                "truncated": max(_size(stdout), _size(stderr)) > MAX_OUTPUT,
            }
    finally:
        # In a thread: a script may leave a great many files. The thread finishes even if this await is cancelled.
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def remove_leftovers() -> None:
    """The folders of scripts whose supervisor is dead, as after a loss of power."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or gone
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(opened).st_uid == os.getuid() and time.time() - os.fstat(opened).st_mtime > UNUSED:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(opened)


def _command(script: Script, file: Path, result: int, alive: int) -> list[str]:
    # The CPU limit is for what escapes the time-out; the threads of one process may use every CPU until then.
    cpu_seconds = (math.ceil(script.seconds) + 1) * (os.cpu_count() or 1)
    numbers = (result, alive, script.memory_mb << 20, cpu_seconds, MAX_FILE)
    return [sys.executable, "-I", "-u", str(SUPERVISOR), script.language, str(file), *map(str, numbers)]


async def _run(
    script: Script, file: Path, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes], result: IO[bytes]
) -> int:
    """Run the script to its end and give its exit code; whatever happens, nothing that it started is left running."""
    read, write = os.pipe()  # closing it tells the supervisor to end all; so does our death
    try:
        process = await asyncio.create_subprocess_exec(
            *_command(script, file, result.fileno(), read),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=file.parent,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(file.parent), "LANG": "C.UTF-8"},
            pass_fds=[result.fileno(), read],
            start_new_session=True,
        )
    except BaseException:
        os.close(write)
        raise
    finally:
        os.close(read)
    try:
        return await asyncio.wait_for(process.wait(), script.seconds)
    except TimeoutError:
        raise TimedOut(f"code timed out: it did not end within {script.seconds:.3g} s: {_last_lines(stderr)}") from None
    finally:
        os.close(write)
        await _ended(process)


async def _ended(process: Process) -> None:
    """Also where this await is cancelled: the supervisor then ends by itself."""
    try:
        await asyncio.wait_for(process.wait(), ENDS_WITHIN)
    except TimeoutError:  # something that it kills does not die: a disk that does not answer
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def _ending(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = {"SIGXCPU": " (CPU time used up)", "SIGXFSZ": f" (a file over {MAX_FILE >> 20} MiB)"}.get(name, "")
    return f"was killed by {name}{hint}"


def _result(result: IO[bytes], stdout: IO[bytes]) -> Any:
    size = _size(result)
    if size > MAX_OUTPUT:
        raise NodeError(f"result has {size} bytes, at most {MAX_OUTPUT} are kept: make it smaller", retryable=False)
    return json_of(_text(result) if size else _text(stdout))


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _text(file: IO[bytes], start: int = 0) -> str:
    """At most MAX_OUTPUT bytes of a file. The script shares the file's position, so it is not relied on."""
    return text_of(os.pread(file.fileno(), MAX_OUTPUT, start))


def _last_lines(stderr: IO[bytes]) -> str:
    lines = _text(stderr, max(0, _size(stderr) - 2_000)).strip().splitlines()
    return "\n".join(lines[-5:]) or "nothing on stderr"
