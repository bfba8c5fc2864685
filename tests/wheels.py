"""The wheel that users install, built from a copy of the sources, so that nothing is left behind in the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "src", "actors", "cluster", "store")


def copied(folder: Path) -> Path:
    """The sources, with their links as links."""
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            left = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / part, folder / part, symlinks=True, ignore=left)
        else:
            shutil.copy2(ROOT / part, folder / part)
    return folder


def built(kind: str, source: Path, folder: Path) -> Path:
    """kind: wheel or sdist. By the backend itself, with the setuptools of this environment: no registry is asked."""
    folder.mkdir()
    script = f"from setuptools.build_meta import build_{kind} as b; import sys; print(b(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=source, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def installed(wheel: Path, folder: Path) -> Path:
    """The bin folder of a new venv that has the wheel, and what it depends on from the environment of these tests; but
    not the editable Dray of that."""
    venv.create(folder, symlinks=True)
    home = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (home / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files are not read
    subprocess.run(
        [sys.executable, "-m", "pip", f"--python={folder}/bin/python", "install", "-q", "--no-deps",
         "--disable-pip-version-check", "--force-reinstall", str(wheel)],
        check=True, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    return folder / "bin"
