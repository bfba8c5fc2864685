"""A driver writes only to what it holds, and one that has ended is taken from bit by bit."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run("0009_holding.sql", "0009_holding_drivers.sql")
