"""What a person does to executions: pause, resume, retry, rerun, one or many; and labels that are found."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name in ("0005_control.sql", "0005_control_again.sql"):
        statements = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
        op.get_bind().connection.cursor().execute(statements)  # bare: a % in the text is a %
