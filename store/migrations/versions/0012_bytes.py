"""What a claim takes is bounded in bytes, and so is an input."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run("0012_bytes.sql")
