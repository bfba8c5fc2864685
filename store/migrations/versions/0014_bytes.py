"""What a claim takes is bounded in bytes, and so is an input."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0014"
down_revision = "0016"


def upgrade() -> None:
    run("0014_bytes.sql")
