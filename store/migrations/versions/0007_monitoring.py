"""What monitoring reads."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run("0007_monitoring.sql")
