"""PostgreSQL reads the array literals of store/arrays.py as what they were made of."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from dray.store.arrays import numbers, texts
from tests.pg import Sql

ANY_TEXT = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
TRICKY = some.text("\"\\{},\x1f' \nNULL%$é", max_size=8)
# The database stays the same, whatever is asked of it.
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(sql: Sql, literal: str, kind: str) -> list[object]:
    ((found,),) = sql(f"SELECT ARRAY(SELECT unnest(%(literal)s::{kind}[]))", literal=literal)
    return list(found)


@many
@given(some.lists(some.none() | ANY_TEXT | TRICKY, min_size=1, max_size=12))
def test_texts(sql: Sql, values: list[str | None]) -> None:
    assert read(sql, texts(values), "text") == ([] if set(values) == {None} else values)


@many
@given(some.lists(some.none() | some.floats(allow_nan=False), min_size=1, max_size=12))
def test_floats(sql: Sql, values: list[float | None]) -> None:
    assert read(sql, numbers(values), "float8") == ([] if set(values) == {None} else values)


@many
@given(some.lists(some.none() | some.integers(-(2**31), 2**31 - 1), min_size=1, max_size=12))
def test_integers(sql: Sql, values: list[int | None]) -> None:
    assert read(sql, numbers(values), "integer") == ([] if set(values) == {None} else values)
