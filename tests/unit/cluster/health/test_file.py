from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from dray.cluster.health import file as health_file
from dray.cluster.health.file import HealthWriter


def written(file: Path) -> bool:
    limit = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < limit
        time.sleep(0.01)
    return True


def test_it_is_read_by_its_user_only_and_goes_with_the_driver(tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    writer = HealthWriter(file, lambda: {"pid": os.getpid()})
    writer.start()
    assert written(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert health_file.read(file) == [{"pid": os.getpid()}]
    writer.stop()
    assert list(tmp_path.iterdir()) == []
    assert health_file.read(file) == []


def test_without_a_setting_each_driver_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    writer = HealthWriter(None, lambda: {"pid": os.getpid()})
    writer.start()
    assert written(health_file.folder() / f"{os.getpid()}.json")
    assert stat.S_IMODE(health_file.folder().stat().st_mode) == 0o700
    assert len(health_file.read(None)) == 1
    writer.stop()


def test_a_folder_that_is_a_link_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    health_file.folder().symlink_to(elsewhere)
    (elsewhere / "1.json").write_text(json.dumps({"pid": os.getpid()}))
    assert health_file.read(None) == []
    HealthWriter(None, dict)._write()
    assert [each.name for each in elsewhere.iterdir()] == ["1.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 999999999}'])
def test_what_a_killed_driver_left_is_not_believed(tmp_path: Path, text: str) -> None:
    file = tmp_path / "health.json"
    file.write_text(text)
    assert health_file.read(file) == []


def test_a_report_of_a_process_whose_number_another_has_is_none(tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    file.write_text(json.dumps({"pid": os.getpid(), "born": health_file.born(os.getpid())}))
    assert len(health_file.read(file)) == 1
    file.write_text(json.dumps({"pid": os.getpid(), "born": "1"}))
    assert health_file.read(file) == []
