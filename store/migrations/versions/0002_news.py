"""What executions wait for besides time: signals and children."""

from __future__ import annotations

from dray.store.migrations import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run("0002_news.sql", "0002_news_drivers.sql")
