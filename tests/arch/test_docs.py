"""The pages for users name everything that there is, and nothing that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from dray.actors.registry import load_handlers
from dray.cluster.cli.base import Exit
from dray.cluster.cli.main import app
from dray.cluster.settings import PLATFORM_NAMES, PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").glob("*.md"))]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def table(text: str, cells: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        found = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(found) == cells and not set(found[0]) <= {"-"}:
            yield found


def commands(command: Any, path: str) -> Iterator[str]:
    found = getattr(command, "commands", None)
    if found is None:
        yield path
        return
    for name, each in found.items():
        yield from commands(each, f"{path} {name}")


def test_every_setting_has_a_row_with_its_default() -> None:
    rows = {row[0].strip("`"): row[1:] for row in table(page("settings.md"), 3)}
    rows.pop("name")
    assert rows.keys() == {PREFIX + name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default, meaning = rows[PREFIX + name.upper()]
        shown = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        shown = f"{shown:g}" if isinstance(shown, float) else shown
        assert default == ("" if shown is None else str(shown).lower() if isinstance(shown, bool) else str(shown))
        assert field.description is not None
        assert meaning.startswith(field.description)
        assert PLATFORM_NAMES.get(name, "") in meaning


def test_every_command_has_a_row() -> None:
    text = page("cli.md")
    missing = [path for path in commands(typer.main.get_command(app), "dray") if f"`{path}" not in text]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_that_a_page_names_exists(path: Path) -> None:
    known = set(commands(typer.main.get_command(app), "dray"))
    named = r"(?:^|`|bin/|&& )dray ([a-z][a-z-]*)(?: ([a-z]+))?"
    for first, second in re.findall(named, path.read_text(), re.MULTILINE):
        assert {f"dray {first}", f"dray {first} {second}"} & known, f"dray {first} {second}"


def test_every_exit_code_has_a_row() -> None:
    rows = [row[0] for row in table(page("cli.md"), 2) if row[0].isdigit()]
    assert [int(each) for each in rows] == [each.value for each in Exit]


def sections() -> Iterator[tuple[str, str]]:
    """Heading and text of each node type's section."""
    text = page("workflows.md").partition("\n## Node types\n")[2].partition("\n## ")[0]
    for each in text.split("\n### ")[1:]:
        heading, _, rest = each.partition("\n")
        yield heading, rest


def test_every_node_type_has_a_section_of_its_own() -> None:
    named = [name for heading, _ in sections() for name in re.findall(r"`([\w-]+)`", heading)]
    built_in = [name for name, spec in load_handlers().items() if spec.function.__module__.startswith("dray.actors.")]
    assert sorted(set(built_in) - set(named)) == []
    assert sorted(name for name in named if named.count(name) > 1 or name not in built_in) == []


def test_every_section_has_its_table_and_an_example() -> None:
    for heading, text in sections():
        assert [row[0] for row in table(text, 2)][:4] == ["config", "output", "branches", "errors"], heading
        assert "\n```yaml\n" in text, heading


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_every_docs_page_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [each.name for each in PAGES if each.parent.name == "docs" and f"docs/{each.name}" not in readme] == []
