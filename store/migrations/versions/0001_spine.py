"""The schema of the first day."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    run("0001_spine.sql", "0001_spine_drivers.sql")
