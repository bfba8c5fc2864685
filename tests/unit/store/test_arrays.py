"""Array literals: what PostgreSQL reads back is what was given (tests/db/test_arrays.py asks it)."""

from __future__ import annotations

from dray.store.arrays import numbers, texts


def test_texts_are_quoted_so_that_no_value_can_end_the_array() -> None:
    assert texts(["a", 'b","c', "\\", "{}", ""]) == '{"a","b\\",\\"c","\\\\","{}",""}'


def test_none_is_null_and_the_word_is_not() -> None:
    assert texts(["a", None, "NULL"]) == '{"a",NULL,"NULL"}'
    assert numbers([1, None, -2.5]) == "{1,NULL,-2.5}"


def test_all_null_is_empty() -> None:
    assert texts([]) == texts([None, None]) == numbers([]) == numbers([None]) == "{}"


def test_a_value_with_the_separator_stays_one_value() -> None:
    assert texts(["a\x1fb"]) == '{"a\x1fb"}'
    assert texts(["a", "b\x1fc"]) == '{"a","b\x1fc"}'
