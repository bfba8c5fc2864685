"""The schema of the first day."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    for name in ("0001_spine.sql", "0001_spine_drivers.sql"):
        statements = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
        op.get_bind().connection.cursor().execute(statements)  # bare: a % in the text is a %
