"""A folder shows the architecture: its `__init__` has a line for each file, and there are few enough for that."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 26  # files, the map among them
FOLDERS = sorted(
    folder
    for each in ("actors", "cluster", "store")
    for folder in (ROOT / each, *(ROOT / each).rglob("*"))
    if folder.is_dir() and (folder / "__init__.py").exists()
)
# Their files are listed elsewhere: by node type in docs/workflows.md, by number in the schema's own chain.
OTHER_MAPS = {
    ROOT / "actors/handlers",
    ROOT / "store/migrations",
    ROOT / "store/migrations/versions",
    ROOT / "store/sql",
}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_is_small(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MOST


@pytest.mark.parametrize(
    "folder", [each for each in FOLDERS if each not in OTHER_MAPS], ids=lambda folder: str(folder.relative_to(ROOT))
)
def test_its_map_names_what_there_is_and_nothing_else(folder: Path) -> None:
    told = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    named = set(re.findall(r"\b([a-z_]+\.py)\b", told)) | set(re.findall(r"^([a-z_]+/)", told, re.MULTILINE))
    files = {each.name for each in folder.glob("*.py")} - {"__init__.py"}
    folders = {f"{each.name}/" for each in folder.iterdir() if each.is_dir() and list(each.glob("*.py"))}
    assert (files | folders) - named == set(), "without a line"
    in_front = set(re.findall(r"^([a-z_]+\.py)", told, re.MULTILINE))
    assert in_front - files == set(), "is not there"
