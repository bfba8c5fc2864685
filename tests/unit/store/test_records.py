"""Statuses as data: each has its row, each change names who may make it, and the SQL has no other."""

from __future__ import annotations

import re
from pathlib import Path

import dray.store
from dray.store.queries import QUERIES
from dray.store.records import FINAL, TRANSITIONS, ExecutionStatus

SCHEMA = "".join(each.read_text() for each in sorted((Path(dray.store.__file__).parent / "migrations").glob("*.sql")))
FUNCTIONS = {
    f"dray.{name}": body
    for name, body in re.findall(
        r"CREATE (?:OR REPLACE )?FUNCTION dray\.(\w+)\(.*?AS \$\$(.*?)\$\$;", SCHEMA, re.DOTALL
    )
}
STATEMENTS = {**QUERIES, **FUNCTIONS}
WRITES = re.compile(
    r"\bUPDATE dray\.execution\b[^;]*?\bSET\b[^;]*?\bstatus\s*=|\bINSERT INTO dray\.execution\s*\(", re.DOTALL
)


# The column's default says it, or the parameter.
UNSAID = {
    ("dray.submit_many", ExecutionStatus.QUEUED),
    ("dray.start_children", ExecutionStatus.QUEUED),
    ("dray.begin_again", ExecutionStatus.QUEUED),
    *(("dray.commit_if_fenced", each) for each in FINAL),
}


def test_each_status_has_its_row_and_only_the_final_ones_end_there() -> None:
    left = set(ExecutionStatus)
    for status, following in TRANSITIONS.items():
        if status is not None:
            left.remove(status)
            assert (not following) == (status in FINAL), status
    assert not left


def test_each_status_can_be_reached() -> None:
    reached: set[ExecutionStatus] = set()
    new = set(TRANSITIONS[None])
    while new:
        reached |= new
        new = {to for each in new for to in TRANSITIONS[each]} - reached
    assert set(ExecutionStatus) == reached


def test_whoever_may_change_a_status_exists_and_does_and_nobody_else_does() -> None:
    named = {name for following in TRANSITIONS.values() for names in following.values() for name in names}
    assert named == {name for name, text in STATEMENTS.items() if WRITES.search(text)}


def test_each_changer_names_the_status_that_it_makes() -> None:
    for following in TRANSITIONS.values():
        for to, names in following.items():
            for name in names:
                if (name, to) not in UNSAID:
                    assert f"'{to.value}'" in STATEMENTS[name], (name, to)


def test_the_schema_knows_the_same_statuses_and_the_same_ends() -> None:
    def words(constraint: str) -> set[str]:
        (found,) = re.findall(rf"CONSTRAINT {constraint} CHECK \((.*)\)", SCHEMA)
        return set(re.findall(r"'(\w+)'", found))

    assert words("execution_status_check") == {each.value for each in ExecutionStatus}
    assert words("execution_final_check") == {each.value for each in FINAL}
    assert words("execution_owner_check") == {ExecutionStatus.RUNNING.value}


def test_a_status_is_its_word() -> None:
    assert ExecutionStatus("queued") == "queued"
    assert "failed" in FINAL
