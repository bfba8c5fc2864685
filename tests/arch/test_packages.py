"""One import name: what is installed is `dray` and nothing else, built from here or from the sdist."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import metadata, version
from pathlib import Path

import pytest

import dray
from tests.wheels import ROOT, built, copied


def contents(wheel: Path) -> dict[str, bytes]:
    """Name -> bytes, without the list of hashes."""
    with zipfile.ZipFile(wheel) as found:
        return {name: found.read(name) for name in found.namelist() if not name.endswith("/RECORD")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("wheel")
    return contents(built("wheel", copied(folder / "source"), folder / "dist"))


def test_the_version_is_the_same_everywhere() -> None:
    told = subprocess.run([sys.executable, "-m", "dray", "--version"], capture_output=True, text=True, check=True)
    assert dray.__version__ == version("dray") == told.stdout.strip()


def test_who_may_use_it_is_said() -> None:
    assert metadata("dray")["License-Expression"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()


def test_the_wheel_holds_one_package(wheel: dict[str, bytes]) -> None:
    assert {name.partition("/")[0] for name in wheel} == {"dray", f"dray-{dray.__version__}.dist-info"}


def test_the_wheel_holds_everything(wheel: dict[str, bytes]) -> None:
    code = {
        f"dray/{path.relative_to(ROOT)}"
        for each in ("actors", "cluster", "store")
        for path in (ROOT / each).rglob("*.py")
    }
    data = {f"dray/{path.relative_to(ROOT)}" for path in (ROOT / "store").rglob("*.sql")}
    assert code | data | {"dray/py.typed", "dray/__main__.py", "dray/cluster/demo/workflow.json"} <= wheel.keys()


def test_the_wheel_from_the_sdist_is_the_same(wheel: dict[str, bytes], tmp_path: Path) -> None:
    with tarfile.open(built("sdist", copied(tmp_path / "source"), tmp_path / "sdist")) as found:
        found.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert contents(built("wheel", source, tmp_path / "dist")) == wheel


@pytest.mark.parametrize("name", ["actors", "cluster", "store"])
def test_the_folders_are_not_imported_by_their_own_names(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == f"ImportError: import dray.{name}, not {name}"
