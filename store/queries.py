"""The statements of store/sql/*.sql, by name.

A statement begins with `-- name: <name>`; the comment below it says which transition it makes. The files are read once,
at import: a name that is there twice, or a file without names, is an error there and not at night.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"
_NAME = re.compile(r"^-- name: *(\S*) *$", re.MULTILINE)


def parse(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name -> statement, of (file name, text). Raises ValueError for a double name or text before the first one."""
    found: dict[str, str] = {}
    for file, text in files:
        before, *parts = _NAME.split(text)
        if before.strip() or not parts:
            raise ValueError(f"{file}: must begin with `-- name: <name of the statement>`")
        for name, statement in zip(parts[::2], parts[1::2], strict=True):
            if not name.isidentifier() or name in found:
                raise ValueError(f"{file}: {name!r} is no name, or given twice")
            found[name] = statement.strip().removesuffix(";")
    return found


QUERIES = parse((each.name, each.read_text(encoding="utf-8")) for each in sorted(_FOLDER.glob("*.sql")))
