"""Cancels that take all below along, with who asked and why; and no person's open transaction that stops drivers."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run("0008_families.sql", "0008_people.sql")
