"""The migrations are one chain: two that come after the same one would be two schemas."""

from __future__ import annotations

import ast
from pathlib import Path

from dray.store import migrations

FOLDER = Path(migrations.__file__).parent / "versions"


def assigned(path: Path, name: str) -> str | None:
    """What a module gives to a name of its own, unexecuted."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.Assign) and [each.id for each in targets if isinstance(each, ast.Name)] == [name]:
            found: str | None = ast.literal_eval(statement.value)
            return found
    raise AssertionError(f"{path.name} says no {name}")


def test_each_migration_has_one_after_it() -> None:
    before = {assigned(each, "revision"): assigned(each, "down_revision") for each in FOLDER.glob("0*.py")}
    ends = set(before) - set(before.values())
    assert len(ends) == 1, f"{sorted(map(str, ends))} come last: let one of them come after the other"
    walked: list[str | None] = []
    (here,) = ends
    while here is not None:
        walked.append(here)
        here = before[here]
    assert len(walked) == len(before), "each stands in the chain once"
