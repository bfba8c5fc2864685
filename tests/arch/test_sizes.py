"""No file grows past 400 lines, no function past 60."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [*(path for each in ("src", "actors", "cluster", "store") for path in (ROOT / each).rglob("*.py"))]
LINES_OF_FILE = 400
LINES_OF_FUNCTION = 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LINES_OF_FILE
    functions = [
        each for each in ast.walk(ast.parse(text)) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    long = {each.name: each.end_lineno - each.lineno + 1 for each in functions if each.end_lineno is not None}
    assert {name: lines for name, lines in long.items() if lines > LINES_OF_FUNCTION} == {}


def test_make_runs_every_folder_of_tests() -> None:
    makefile = (ROOT / "Makefile").read_text()
    folders = {each.parent.relative_to(ROOT).parts[1] for each in (ROOT / "tests").rglob("test_*.py")}
    assert {each for each in folders if f" tests/{each}" not in makefile} == set()
