"""The schema, step by step: versions/ runs the numbered .sql files of this folder (store/migrate.py)."""

from __future__ import annotations

from pathlib import Path

from alembic import op


def run(*names: str) -> None:
    """All statements of these files, in the transaction of the migration."""
    for name in names:
        statements = (Path(__file__).parent / name).read_text(encoding="utf-8")
        op.get_bind().connection.cursor().execute(statements)  # bare: a % in the text is a %
