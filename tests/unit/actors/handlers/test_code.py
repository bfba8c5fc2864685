"""code: what a script gets, what it gives, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dray.actors.errors import ConfigError, NodeError
from dray.actors.outside.script import MAX_OUTPUT

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not [name for name in os.listdir(tmp_path) if name.startswith("dray-code-")]


def test_python_result_variable_input_and_output(run: Run) -> None:
    script = "import json, sys\nx = json.load(sys.stdin)\nprint('hi {{ input.n }}')\nresult = {'n': x['n'] + 1}"
    out = run("code", {"code": script, "input_data": {"n": "{{ input.n }}"}}, input={"n": 41})
    assert out.pop("duration_ms") >= 0
    assert out == {
        "stdout": "hi {{ input.n }}\n",
        "stderr": "",
        "exit_code": 0,
        "result": {"n": 42},
        "truncated": False,
    }


def test_stdout_is_the_result_if_it_is_json(run: Run) -> None:
    assert run("code", {"code": "print('[1, 2]')"})["result"] == [1, 2]
    assert run("code", {"code": "print('text')"})["result"] is None
    out = run("code", {"language": "bash", "code": "cat; echo err >&2", "input_data": {"a": 1}})
    assert (out["result"], out["stderr"]) == ({"a": 1}, "err\n")


def test_environment_holds_no_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAY_DATABASE_URL", "secret")
    out = run("code", {"code": "import os\nresult = [dict(os.environ), os.getcwd(), os.listdir()]"})
    environment, folder, files = out["result"]
    assert set(environment) - {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"} == {"PATH", "HOME", "LANG"}
    assert environment["HOME"] == folder
    assert files == ["main.py"]


def test_failure_has_the_last_lines_of_stderr(run: Run) -> None:
    with pytest.raises(NodeError, match=r"(?s)exit code 1: .*ZeroDivisionError") as caught:
        run("code", {"code": "1 / 0"})
    assert caught.value.retryable
    with pytest.raises(NodeError, match="exit code 3: nothing on stderr"):
        run("code", {"language": "bash", "code": "exit 3"})
    with pytest.raises(NodeError, match="not JSON serializable"):
        run("code", {"code": "result = {1, 2}"})


def test_timeout_kills_the_whole_group(run: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 9> {fifo}; sleep 60 & sleep 60"
    with pytest.raises(NodeError, match=r"did not end within 0\.3 s"):
        run("code", {"language": "bash", "code": script, "timeout_seconds": 0.3})
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # end of file: no process of the group holds the pipe any more
    os.close(reader)


def test_a_background_process_neither_delays_nor_survives(run: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    out = run("code", {"language": "bash", "code": f"exec 9> {fifo}; sleep 60 & echo 1"})
    assert out["result"] == 1
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_cancel_kills_the_script(start: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)

    async def cancelled() -> None:
        running = asyncio.create_task(start("code", {"language": "bash", "code": f"echo > {fifo}; sleep 60"}))
        await asyncio.to_thread(fifo.read_text)  # returns when the script has come that far
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(cancelled(), 60))


def test_output_is_cut(run: Run) -> None:
    out = run("code", {"code": "import sys\nsys.stdout.write('x' * 3_000_000)"})
    assert len(out["stdout"]) == MAX_OUTPUT
    assert out["truncated"]


def test_limits_of_memory_and_file_size(run: Run) -> None:
    with pytest.raises(NodeError, match="MemoryError"):
        run("code", {"code": "bytearray(1 << 30)", "memory_mb": 256})
    with pytest.raises(NodeError, match=r"SIGXFSZ \(a file over 64 MiB\)|File too large"):
        run("code", {"language": "bash", "code": "exec head -c 70000000 /dev/zero > big"})
    with pytest.raises(NodeError, match="at most") as caught:
        run("code", {"code": "result = 'x' * 2_000_000"})
    assert not caught.value.retryable


def test_exit_zero_and_unknown_language(run: Run) -> None:
    assert run("code", {"code": "import sys; sys.exit(0)"})["result"] is None
    with pytest.raises(ConfigError, match=r"language: Input should be 'python' or 'bash'"):
        run("code", {"code": "x", "language": "ruby"})


def test_outputs_are_json(run: Run) -> None:
    assert json.loads(json.dumps(run("code", {"code": "print('\\0')"})))["stdout"] == "\ufffd\n"
