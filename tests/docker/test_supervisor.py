"""A real supervisord runs docker/systemd/supervisor.conf: a driver that is killed, comes back, and drains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.cluster.settings import Settings
from dray.store.client.client import Client
from tests.acceptance.commands import ROOT, Shell
from tests.docker.units import parse_supervisor

supervisor = pytest.importorskip("supervisor.xmlrpc", reason="no supervisor: it is among the packages of [dev]")

CONF = ROOT / "docker" / "systemd" / "supervisor.conf"
FRAME = """
[unix_http_server]
file={folder}/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
nodaemon=true
"""
SLOW = {
    "nodes": [
        {"id": "t", "type": "trigger"},
        {"id": "d", "type": "code", "config": {"code": "import time\ntime.sleep(1)"}},
    ],
    "edges": [{"from": "t", "to": "d"}],
}


def until(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)
    return found


@pytest.fixture
def program(tmp_path: Path, database: str) -> Iterator[Program]:
    with_password = Program(tmp_path, database)
    yield with_password
    with_password.end()


class Program:
    """The shipped program, with other folders and no other user; everything else is as it stands there."""

    def __init__(self, folder: Path, database: str) -> None:
        self.log = folder / "worker.log"
        dray = folder / "dray"
        dray.write_text(f'#!/bin/sh\nexec {sys.executable} -m dray "$@"\n')
        dray.chmod(0o755)
        env = folder / "dray.env"
        # As in dray.env: plain lines, which systemd and a shell read alike.
        env.write_text(f"DRAY_DATABASE_URL='{database}'\nDRAY_EXECUTOR=local\nPYTHONPATH={ROOT}\n")
        conf = parse_supervisor(CONF)
        section = conf["program:dray"]
        del section["user"]
        section["directory"] = str(folder)
        section["stdout_logfile"] = str(self.log)
        for name, path in (("/etc/dray/dray.env", env), ("/opt/dray/bin/dray", dray)):
            assert name in section["command"]
            section["command"] = section["command"].replace(name, str(path))
        file_of_daemon = folder / "supervisord.conf"
        with file_of_daemon.open("w") as file:
            file.write(FRAME.format(folder=folder))
            conf.write(file, space_around_delimiters=False)
        clean = Shell(folder).environ
        self._daemon = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(file_of_daemon)], cwd=folder, env=clean,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._path = str(folder / "sock")
        until(lambda: Path(self._path).exists())
        transport = supervisor.SupervisorTransport(None, None, f"unix://{self._path}")
        self._rpc: Any = ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = self._rpc.getProcessInfo("dray")
        return found

    def stop(self) -> None:
        self._rpc.stopProcess("dray", True)

    def end(self) -> None:
        self._daemon.send_signal(signal.SIGTERM)
        self._daemon.wait(120)

    def started(self, times: int) -> bool:
        return self.log.exists() and self.log.read_text().count("Workflow worker started") >= times


def test_it_starts_comes_back_and_drains(program: Program, client: Client) -> None:
    client.apply_workflow("slow", canonical(SLOW, load_handlers()))
    until(lambda: program.started(1))
    first = client.submit("slow", {})
    assert client.wait(first, timeout=120).status == "completed"
    killed = program.info()["pid"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: program.started(2))
    assert program.info()["pid"] != killed
    second = client.submit("slow", {})
    until(lambda: client.get(second).status == "running")
    program.stop()
    # Told to stop while a node ran: it was let finish, and the driver ended by itself.
    assert client.get(second).status == "completed"
    assert (program.info()["statename"], program.info()["exitstatus"]) == ("STOPPED", 0)
    assert program.log.read_text().count("Workflow worker stopped") == 1


def test_no_secret_reaches_what_supervisor_shows(program: Program, database: str) -> None:
    until(lambda: program.started(1))
    shown = Path(f"/proc/{program.info()['pid']}/cmdline").read_text() + CONF.read_text()
    assert "://" not in shown


def test_the_times_leave_room_for_a_drain() -> None:
    section = parse_supervisor(CONF)["program:dray"]
    assert section.getfloat("stopwaitsecs") >= Settings.model_fields["drain_timeout"].default + 30
    assert (section["autorestart"], section["stopsignal"], section["stopasgroup"]) == ("true", "TERM", "false")
