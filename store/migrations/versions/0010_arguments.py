"""Arguments are checked, each with a sentence that names it; a schedule says what its missed slots become."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run("0010_arguments.sql")
