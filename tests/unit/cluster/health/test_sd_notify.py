"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dray.cluster.health import sd_notify
from dray.cluster.health.sd_notify import Notifier


class Manager:
    """The end of the socket that systemd reads."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def told(self) -> list[str]:
        """Everything that arrived since the last call."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    found = Manager(str(tmp_path / "notify") if request.param == "path" else f"@dray-test-{os.getpid()}")
    yield found
    found.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(sd_notify.time, "monotonic", lambda: now[0])
    return now


def test_a_start_that_waits_asks_for_more_time(manager: Manager) -> None:
    Notifier(manager.address, 60.0).alive("waiting for the database")
    assert manager.told() == ["STATUS=waiting for the database\nEXTEND_TIMEOUT_USEC=90000000"]


def test_started_alive_stopping(manager: Manager, clock: list[float]) -> None:
    systemd = Notifier(manager.address, 60.0)
    systemd.ready("runs with 2 runners on ray")
    systemd.alive()
    systemd.stopping()
    systemd.alive()
    clock[0] += 1.0
    systemd.alive()  # a drain takes time too
    started, alive, stopping, again = manager.told()
    assert started == "READY=1\nSTATUS=runs with 2 runners on ray"
    assert (alive, stopping, again) == ("WATCHDOG=1", "STOPPING=1\nSTATUS=draining", "WATCHDOG=1")


@pytest.mark.parametrize(("watchdog", "gap"), [(60.0, 1.0), (2.0, 0.5)])
def test_signs_of_life_are_rare_but_often_enough(
    manager: Manager, clock: list[float], watchdog: float, gap: float
) -> None:
    systemd = Notifier(manager.address, watchdog)
    systemd.ready("")
    manager.told()
    for _ in range(1000):
        systemd.alive()
    assert manager.told() == ["WATCHDOG=1"]
    clock[0] += gap
    systemd.alive()
    assert manager.told() == ["WATCHDOG=1"]


def test_without_a_watchdog_only_changes_are_told(manager: Manager) -> None:
    systemd = Notifier(manager.address)
    systemd.ready("runs")
    systemd.alive()
    assert manager.told() == ["READY=1\nSTATUS=runs"]


def test_the_variables_are_taken_from_the_environment_and_out_of_it(manager: Manager) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"
    }  # fmt: skip
    systemd = Notifier.from_environment(environ)
    assert environ == {"HOME": "/"}
    systemd.ready("runs")
    systemd.alive()
    assert manager.told() == ["READY=1\nSTATUS=runs", "WATCHDOG=1"]


def test_the_watchdog_of_another_process_is_not_fed(manager: Manager) -> None:
    systemd = Notifier.from_environment(
        {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}
    )
    systemd.ready("runs")
    systemd.alive()
    assert manager.told() == ["READY=1\nSTATUS=runs"]


def test_nobody_listens(tmp_path: Path) -> None:
    for systemd in (Notifier.from_environment({}), Notifier(str(tmp_path / "gone"), 60.0)):
        systemd.ready("runs")
        systemd.alive()
        systemd.stopping()
