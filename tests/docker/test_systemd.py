"""The units for one server: systemd's own checks of them, and what a real driver tells systemd."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from dray.cluster.settings import Settings
from tests.acceptance.commands import ROOT, Shell
from tests.docker.units import parse_unit

UNITS = ROOT / "docker" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
SETTINGS = Settings.model_fields
EXPOSURE = "20"  # tenths; systemd calls up to 2 "OK"
EXECUTABLE = "/opt/dray/bin/dray"


@pytest.fixture
def analyze(tmp_path: Path) -> Analyze:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt install systemd")
    return Analyze(tmp_path)


class Analyze:
    """systemd-analyze on copies of the units, in which the executable is one that is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in SERVICES:
            self.write(name, (UNITS / name).read_text())

    def write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text.replace(EXECUTABLE, "/bin/true"))

    def __call__(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            ["systemd-analyze", *arguments], cwd=self._folder, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout + done.stderr


def test_there_are_a_worker_and_a_migration() -> None:
    assert SERVICES == ["dray-migrate.service", "dray.service"]


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_finds_nothing_wrong(analyze: Analyze, name: str) -> None:
    assert analyze("verify", f"./{name}") == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_would_find_a_typing_error(analyze: Analyze, name: str) -> None:
    analyze.write(name, (UNITS / name).read_text().replace("NoNewPrivileges", "NoNewPrivilegs"))
    assert "NoNewPrivilegs" in analyze("verify", f"./{name}")[1]


@pytest.mark.parametrize("name", SERVICES)
def test_the_exposure_is_low(analyze: Analyze, name: str) -> None:
    code, told = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", f"./{name}")
    assert code == 0, told.splitlines()[-1]


def test_the_exposure_would_be_seen(analyze: Analyze) -> None:
    lines = (UNITS / "dray.service").read_text().splitlines()
    analyze.write("dray.service", "\n".join(each for each in lines if not each.startswith("SystemCall")))
    code, _ = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", "./dray.service")
    assert code != 0


def test_the_times_leave_room_for_a_drain_and_for_a_database_that_is_away() -> None:
    unit = parse_unit(UNITS / "dray.service")
    assert float(unit["TimeoutStopSec"]) >= SETTINGS["drain_timeout"].default + 30
    assert float(unit["WatchdogSec"]) > SETTINGS["lease_ttl"].default + 30
    assert (unit["Type"], unit["Restart"], unit["KillMode"]) == ("notify", "always", "mixed")
    assert unit["StartLimitIntervalSec"] == "0"


@pytest.mark.parametrize("path", sorted(UNITS.iterdir()), ids=lambda path: path.name)
def test_only_the_file_of_settings_names_a_password_and_that_one_must_be_changed(path: Path) -> None:
    found = re.findall(r"://[^:\s]+:([^@\s]+)@|(?:PASSWORD|TOKEN|KEY)=(\S+)", path.read_text())
    assert found == ([("CHANGE-ME", "")] if path.name == "dray.env" else [])


def test_every_setting_that_is_named_exists() -> None:
    for path in UNITS.iterdir():
        for name in re.findall(r"DRAY_([A-Z_]+)", path.read_text()):
            assert name.lower() in SETTINGS, (path.name, name)


class Manager:
    """Reads the notifications of one process, as systemd would."""

    def __init__(self, path: Path) -> None:
        self.told: list[dict[str, str]] = []
        self._changed = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while text := self._socket.recv(4096).decode():
            with self._changed:
                self.told.append(dict(line.split("=", 1) for line in text.splitlines()))
                self._changed.notify_all()

    def wait_for(self, name: str, times: int = 1) -> None:
        def found() -> bool:
            return sum(name in each for each in self.told) >= times

        with self._changed:
            assert self._changed.wait_for(found, 120), self.told


def test_a_driver_tells_systemd_of_its_life(database: str, tmp_path: Path) -> None:
    manager = Manager(tmp_path / "notify")
    shell = Shell(tmp_path, DRAY_DATABASE_URL=database)
    with shell.running(
        "worker", "--executor", "local", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="2000000"
    ) as running:
        manager.wait_for("READY")
        manager.wait_for("WATCHDOG", 3)
        environ = Path(f"/proc/{running.process.pid}/environ").read_text()
        assert "NOTIFY_SOCKET" in environ  # that was its start; what it starts itself is given none
        running.stop(signal.SIGTERM)
    names = [name for each in manager.told for name in each if name in ("READY", "STOPPING")]
    assert names == ["READY", "STOPPING"]
    assert manager.told[0]["STATUS"] == "runs with 1 runners on local"


def test_a_driver_whose_database_is_away_at_boot_asks_for_time(tmp_path: Path) -> None:
    manager = Manager(tmp_path / "notify")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"postgresql://dray:secret@127.0.0.1:{nobody.getsockname()[1]}/dray"
        shell = Shell(tmp_path, DRAY_DATABASE_URL=url)
        with shell.running(
            "worker", "--executor", "local", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="2000000"
        ) as running:
            manager.wait_for("EXTEND_TIMEOUT_USEC", 2)
            running.stop(signal.SIGTERM)
    assert {each.get("STATUS") for each in manager.told} == {"waiting for the database"}
    assert not any("READY" in each or "WATCHDOG" in each for each in manager.told)
    assert "secret" not in str(manager.told)
