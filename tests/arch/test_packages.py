"""Somebody else's `store`, `actors` or `cluster` in front of ours is told in one line, before anything is started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import dray
from cluster import packages
from cluster.errors import PackageShadowed

ROOT = Path(__file__).parents[2]


def other(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, *command], env={**os.environ, "PYTHONPATH": path}, cwd="/",
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_version_is_the_same_everywhere() -> None:
    written = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert written is not None
    assert written[1] == dray.__version__ == version("dray")


def test_ours_are_found() -> None:
    packages.check()
    packages.check_folder(ROOT)


@pytest.mark.parametrize("name", packages.PACKAGES)
def test_the_command_names_the_other_package_in_one_line(tmp_path: Path, name: str) -> None:
    done = run(other(tmp_path, name), "-c", "import dray; dray.main()", "version")
    assert done.returncode not in (0, 2)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dray: package '{name}' comes from {tmp_path / name}")


@pytest.mark.parametrize("name", packages.PACKAGES)
def test_a_package_in_the_working_folder_is_refused_where_runners_would_find_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackageShadowed, match=name):
        packages.check_folder(other(tmp_path, name))


def test_a_folder_that_is_no_package_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    packages.check_folder(tmp_path)
    assert run(tmp_path, "-m", "cluster", "version").returncode == 0
