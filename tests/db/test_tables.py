"""store/tables.py shows the schema that the migrations make: the two are made side by side, and compared."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from dray.store.connection import connect, connection
from dray.store.tables import metadata
from tests.pg import Sql, at, run

COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attnum, a.attidentity,
        regexp_replace(pg_get_expr(d.adbin, d.adrelid), '::\\w+', '', 'g')
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'dray'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
    ORDER BY c.relname, a.attnum
"""
INDEXES = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'dray' AND indexname NOT LIKE 'alembic%' ORDER BY 1"
)
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'dray'::regnamespace AND contype IN ('c', 'p', 'u', 'f') AND conname NOT LIKE 'alembic%'
    ORDER BY 1, 2
"""


@pytest.fixture
def shown(server: str) -> Iterator[Sql]:
    """A database with the tables of store/tables.py."""
    run(server, "CREATE DATABASE shown")
    engine = connect(at(server, "shown"), pool_size=1)
    with connection(engine) as found:
        found.exec_driver_sql("CREATE SCHEMA dray")
        metadata.create_all(found)
    yield Sql(engine)
    engine.dispose()
    run(server, "DROP DATABASE shown WITH (FORCE)")


def rows(sql: Sql, query: str) -> list[tuple[Any, ...]]:
    return sql(query.replace("%", "%%"))


def test_columns_types_defaults_and_their_order_are_the_same(sql: Sql, shown: Sql) -> None:
    found = rows(sql, COLUMNS)
    # "char", one byte, is no type that SQLAlchemy knows; there it is character(1).
    as_shown = [tuple("character(1)" if each == '"char"' else each for each in row) for row in found]
    assert as_shown == rows(shown, COLUMNS)
    assert len(found) > 50


def test_indexes_are_the_same(sql: Sql, shown: Sql) -> None:
    found = [(name, text.replace('::"char"', "::bpchar")) for name, text in rows(sql, INDEXES)]
    assert found == rows(shown, INDEXES)


def test_constraints_are_the_same(sql: Sql, shown: Sql) -> None:
    casts = str.maketrans("", "", "()")

    def plain(found: list[tuple[Any, ...]]) -> list[tuple[str, str, str]]:
        return [
            (table, name, text.replace("::text", "").replace('::"char"', "").replace("::bpchar", "").translate(casts))
            for table, name, text in found
        ]

    assert plain(rows(sql, CONSTRAINTS)) == plain(rows(shown, CONSTRAINTS))


def test_alembic_sees_no_difference(engine: Engine) -> None:
    options = {"include_schemas": True, "compare_type": True, "compare_server_default": True}
    options["include_name"] = lambda name, kind, _: kind != "schema" or name == "dray"
    options["include_object"] = lambda _, name, kind, *__: (
        not (name == "alembic_version" or (kind == "column" and name == "kind"))
    )
    with connection(engine) as found:
        assert compare_metadata(MigrationContext.configure(found, opts=options), metadata) == []


def test_no_part_of_the_program_imports_it() -> None:
    root = Path(__file__).parents[2]
    for folder in ("store", "cluster", "actors"):
        for file in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                assert not (isinstance(node, ast.ImportFrom) and node.module == "dray.store.tables"), file
                assert "dray.store.tables" not in names, file
