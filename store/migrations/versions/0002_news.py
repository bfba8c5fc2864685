"""What executions wait for besides time: signals and children."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name in ("0002_news.sql", "0002_news_drivers.sql"):
        statements = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
        op.get_bind().connection.cursor().execute(statements)  # bare: a % in the text is a %
