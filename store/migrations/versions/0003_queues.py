"""Queues that can be paused, priorities that age, limits, and turns of tenants."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run("0003_queues.sql", "0003_queues_claim.sql")
