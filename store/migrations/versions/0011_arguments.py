"""Arguments are checked, each with a sentence that names it; a schedule says what its missed slots become."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0011"
down_revision = "0008"


def upgrade() -> None:
    run("0011_arguments.sql")
