"""The loader of store/sql: each statement by its name, and nothing that could be taken for another."""

from __future__ import annotations

import re

import pytest

from dray.store.queries import QUERIES, parse


def test_a_file_is_cut_at_its_names() -> None:
    text = "-- name: one\n-- what it does\nSELECT 1;\n\n-- name:two\nSELECT 2\nFROM x;\n"
    assert parse([("a.sql", text)]) == {"one": "-- what it does\nSELECT 1", "two": "SELECT 2\nFROM x"}


def test_files_are_joined() -> None:
    assert list(parse([("a.sql", "-- name: one\nSELECT 1"), ("b.sql", "-- name: two\nSELECT 2")])) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT 1;", "must begin"),
        ("", "must begin"),
        ("SELECT 0;\n-- name: one\nSELECT 1", "must begin"),
        ("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2", "'one'"),
        ("-- name: \nSELECT 1", "''"),
    ],
)
def test_a_file_that_is_wrong_names_itself(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^bad\.sql: .*{said}"):
        parse([("bad.sql", text)])


def test_a_name_that_two_files_give_is_refused() -> None:
    with pytest.raises(ValueError, match=r"b\.sql: 'one'"):
        parse([("a.sql", "-- name: one\nSELECT 1"), ("b.sql", "-- name: one\nSELECT 2")])


@pytest.mark.parametrize("name", QUERIES)
def test_each_is_one_statement_that_psycopg2_can_fill_in(name: str) -> None:
    text = QUERIES[name]
    assert ";" not in re.sub(r"--.*", "", text)
    placeholders = re.findall(r"%\((\w+)\)s", text)
    text % dict.fromkeys(placeholders, "x")  # a lone % raises
    assert "CURRENT_TIMESTAMP" not in text.upper()


@pytest.mark.parametrize("name", ["wake_due", "renew_lease_if_live"])
def test_what_decides_by_time_asks_the_clock_not_the_transaction(name: str) -> None:
    assert "clock_timestamp()" in QUERIES[name]
    assert not re.search(r"\bnow\(\)", re.sub(r"--.*", "", QUERIES[name]))
