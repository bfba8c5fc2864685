"""Runs a Python or Bash script in a process of its own: what the node types code, catch and finally have in common.

The script gets its input as JSON on stdin, and nothing else: PATH, HOME and LANG are its whole environment, HOME is its
empty working directory, deleted afterwards. Limits: seconds, CPU seconds, memory (address space per process), MAX_FILE
per file, no core dumps.

stdin, stdout and stderr are unnamed files, not pipes: nothing can fill up or be held open by a process left behind,
memory stays bounded however much is printed, and what was printed can be read after a kill.

This is not a sandbox. The script runs as the runner's user, with its network; it can read what that user can read,
/proc included. A script that starts a process in a new session outlives its node. Untrusted code needs a pool whose
runners have no rights of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from dray.actors.errors import NodeError

MAX_OUTPUT = 1 << 20  # bytes of each of stdout, stderr and result
MAX_FILE = 64 << 20  # bytes of each file the script writes, stdout and stderr included

# The limits are set by a shell that then becomes the script: a preexec_fn would run Python between fork and exec,
# which may dead-lock in a process with threads. ulimit counts memory in KiB and files in blocks of 512 bytes.
LIMITED = 'ulimit -c 0 && ulimit -v "$1" && ulimit -t "$2" && ulimit -f "$3" && shift 3 && exec "$@"'

# Runs the script (argv 1) and writes its variable `result` to the file descriptor in argv 2.
PYTHON = """\
import json, os, runpy, sys
names = runpy.run_path(sys.argv[1], run_name="__main__")
if "result" in names:
    with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as out:
        json.dump(names["result"], out, allow_nan=False)
"""


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
    folder = Path(tempfile.mkdtemp(prefix="dray-code-"))
    try:
        file = folder / f"main.{'py' if script.language == 'python' else 'sh'}"
        file.write_text(script.text, encoding="utf-8", errors="replace")
        with contextlib.ExitStack() as files:
            stdin, stdout, stderr, result = (files.enter_context(tempfile.TemporaryFile()) for _ in range(4))
            if script.given is not None:
                stdin.write(json.dumps(script.given).encode())
                stdin.seek(0)
            started = time.monotonic()
            command = _command(script, file, result.fileno())
            exit_code = await _run(command, folder, script.seconds, stdin, stdout, stderr, result)
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


def _command(script: Script, file: Path, result: int) -> list[str]:
    # The CPU limit is for what escapes the time-out; the threads of one process may use every CPU until then.
    cpu_seconds = (math.ceil(script.seconds) + 1) * (os.cpu_count() or 1)
    limits = [str(script.memory_mb * 1024), str(cpu_seconds), str(MAX_FILE // 512)]
    program = ["bash", str(file)]
    if script.language == "python":
        program = [sys.executable, "-I", "-u", "-c", PYTHON, str(file), str(result)]
    return ["/bin/sh", "-c", LIMITED, "sh", *limits, *program]


async def _run(
    command: Sequence[str],
    folder: Path,
    seconds: float,
    stdin: IO[bytes],
    stdout: IO[bytes],
    stderr: IO[bytes],
    result: IO[bytes],
) -> int:
    """Run the command to its end and give its exit code; whatever happens, nothing of its group is left running."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LANG": "C.UTF-8"},
        pass_fds=[result.fileno()],
        start_new_session=True,
    )
    try:
        return await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        raise NodeError(f"code did not end within {seconds:.3g} s: {_last_lines(stderr)}") from None
    finally:
        await _kill_group(process)


async def _kill_group(process: Process) -> None:
    # Also after a normal end: the script may have left processes in the background. Their group keeps its number as
    # long as one of them lives.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


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
    try:
        return json.loads(_text(result) if size else _text(stdout))
    except (ValueError, RecursionError):
        return None


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _text(file: IO[bytes], start: int = 0) -> str:
    """At most MAX_OUTPUT bytes of a file. The script shares the file's position, so it is not relied on."""
    return os.pread(file.fileno(), MAX_OUTPUT, start).decode("utf-8", "replace").replace("\0", "\ufffd")


def _last_lines(stderr: IO[bytes]) -> str:
    lines = _text(stderr, max(0, _size(stderr) - 2_000)).strip().splitlines()
    return "\n".join(lines[-5:]) or "nothing on stderr"
