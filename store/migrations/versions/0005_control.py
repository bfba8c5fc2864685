"""What a person does to executions: pause, resume, retry, rerun, one or many; and labels that are found."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run("0005_control.sql", "0005_control_again.sql")
