"""Cancels that take all below along, with who asked and why; and no person's open transaction that stops drivers."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    run("0009_families.sql", "0009_people.sql")
