"""What must not be in the repository: where packages are fetched from, and anything secret."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In two parts, since this file is tracked too.
REGISTRIES = ["pypi" + ".org", "python" + "hosted.org", "anaconda" + ".org", "registry." + "npmjs"]
OPTIONS = ["index" + "-url", "trusted" + "-host", "find" + "-links"]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("no git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def configured_hosts() -> list[str]:
    """The registries that this machine's pip uses."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    return re.findall(r"://(?:[^@/'\s]*@)?([^/:'\s]+)", listed.stdout)


def test_no_file_names_a_package_registry() -> None:
    words = [*REGISTRIES, *OPTIONS, *configured_hosts()]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        for word in words
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_constraints_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+|#.*", line)] == []


def test_no_file_is_large() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > 500_000] == []
