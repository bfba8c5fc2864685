"""A loop in a loop that only its body's edges leave is no end of the workflow."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0016"
down_revision = "0010"


def upgrade() -> None:
    run("0016_ends.sql")
