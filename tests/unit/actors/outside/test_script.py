"""What a script starts ends with it: at its end, at its time-out, and when its runner is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dray.actors.errors import NodeError
from dray.actors.outside.script import PREFIX, UNUSED, Script, remove_leftovers, run_script

# Daemons as people make them: a session of its own, and a parent that is gone.
BASH = "exec 9> {fifo}; (setsid sleep 600 &) ; (setsid bash -c 'trap \"\" TERM HUP; sleep 600; sleep 600' &); {then}"
PYTHON = """
import os, time
alive = open({fifo!r}, "w")
os.set_inheritable(alive.fileno(), True)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(600)
        os._exit(0)
{then}
"""
HOLDER = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(flush=True); input()"
RUNNER = """
import asyncio, sys
from dray.actors.outside.script import Script, run_script
asyncio.run(run_script(Script(sys.argv[1], sys.argv[2], seconds=600)))
"""


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


class Alive:
    """A pipe that every process of the script holds open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def began(self) -> None:
        """Waits until the script has said so."""
        os.set_blocking(self._reader, True)
        self._kept = os.open(self.path, os.O_WRONLY)  # else a read before the script opens it is an end
        assert os.read(self._reader, 1) == b"!"
        os.close(self._kept)

    def none_is_left(self) -> bool:
        """Waits for the last of them."""
        os.set_blocking(self._reader, True)
        return os.read(self._reader, 1) == b""


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Alive]:
    found = Alive(tmp_path / "alive")
    yield found
    os.close(found._reader)


def folders(tmp_path: Path) -> list[str]:
    return [each.name for each in tmp_path.glob(f"{PREFIX}*")]


@pytest.mark.parametrize(("language", "text"), [("bash", BASH), ("python", PYTHON)])
def test_daemons_end_with_it(alive: Alive, language: str, text: str) -> None:
    script = Script(text.format(fifo=str(alive.path), then=""), language)
    assert asyncio.run(run_script(script))["exit_code"] == 0
    assert alive.none_is_left()


@pytest.mark.parametrize(
    ("language", "text", "then"), [("bash", BASH, "sleep 600"), ("python", PYTHON, "time.sleep(600)")]
)
def test_daemons_end_at_the_time_out(alive: Alive, language: str, text: str, then: str) -> None:
    with pytest.raises(NodeError, match="did not end within"):
        asyncio.run(run_script(Script(text.format(fifo=str(alive.path), then=then), language, seconds=1.0)))
    assert alive.none_is_left()


@pytest.mark.parametrize(
    ("language", "text", "then"),
    [
        ("bash", BASH, "echo -n ! >&9; sleep 600"),
        ("python", PYTHON, 'alive.write("!"); alive.flush(); time.sleep(600)'),
    ],
)
def test_they_end_and_their_folder_goes_when_the_runner_is_killed(
    tmp_path: Path, alive: Alive, language: str, text: str, then: str
) -> None:
    text = text.format(fifo=str(alive.path), then=then)
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, text, language])
    alive.began()
    assert len(folders(tmp_path)) == 1
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert alive.none_is_left()
    while folders(tmp_path):  # the last that the supervisor does
        os.sched_yield()


def test_what_it_does_to_its_own_group_does_not_reach_the_runner(alive: Alive) -> None:
    with pytest.raises(NodeError, match="SIGKILL"):
        asyncio.run(run_script(Script("kill -9 0", "bash")))


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    old, new, used, other = (tmp_path / f"{PREFIX}{name}" for name in ("old", "new", "used", "x"))
    other = tmp_path / "mine"
    for each in (old, new, used, other):
        each.mkdir()
        (each / "main.py").touch()
    for each in (old, used, other):
        os.utime(each, (1, 1))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, used],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    remove_leftovers()
    assert [each.exists() for each in (old, new, used, other)] == [False, True, True, True]
    holder.communicate(b"\n")
    remove_leftovers()
    assert not used.exists()
    assert UNUSED >= 60, "a script that has just been written has no supervisor yet"
