"""Deleting what ended long ago."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run("0006_retention.sql")
