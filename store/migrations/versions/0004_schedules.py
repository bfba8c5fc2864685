"""Schedules."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run("0004_schedules.sql")
