"""Queues that can be paused, priorities that age, limits, and turns of tenants."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("0003_queues.sql", "0003_queues_claim.sql"):
        statements = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
        op.get_bind().connection.cursor().execute(statements)  # bare: a % in the text is a %
