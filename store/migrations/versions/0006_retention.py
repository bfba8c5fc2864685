"""Deleting what ended long ago."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    statements = (Path(__file__).parents[1] / "0006_retention.sql").read_text(encoding="utf-8")
    op.get_bind().connection.cursor().execute(statements)  # bare: a % in the text is a %
