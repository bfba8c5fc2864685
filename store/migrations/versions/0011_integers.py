"""Attempts are integers; a crash counts against what died with it."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run("0011_integers.sql")
    run("0011_crashes.sql")
