"""The SQL of docs/database.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from dray.store.client.client import Client
from dray.store.records import TRANSITIONS, ExecutionStatus
from dray.store.tables import metadata
from tests.db.helpers import GRAPH
from tests.pg import Sql

PAGE = (Path(__file__).parents[2] / "docs/database.md").read_text()


def test_every_statement_of_the_page_runs(client: Client, sql: Sql) -> None:
    client.apply_workflow("article", GRAPH)
    (block,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    statements = [each.strip() for each in re.sub(r" *-- .*", "", block).split(";") if each.strip()]
    assert len(statements) == 19
    for each in statements:
        sql(each)
    assert [each.priority for each in client.list()] == [5, 5, 10, 5]


def test_the_page_tells_of_every_table_and_of_every_change_of_status() -> None:
    assert [each for each in metadata.tables if f"`{each}`" not in PAGE] == []
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE))
    for status, following in TRANSITIONS.items():
        if status is not None and following:
            found = set(re.findall(r"`(\w+)`", rows[status.value])) & {each.value for each in ExecutionStatus}
            assert found == {each.value for each in following}
