"""Attempts are integers; a crash counts against what died with it."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0010"
down_revision = "0011"


def upgrade() -> None:
    run("0010_integers.sql")
    run("0010_crashes.sql")
