"""What the functions refuse, each with a sentence that names the argument; and rows that no client may stumble over."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from dray.cluster.schedules import Timing
from dray.store.client.client import Client
from dray.store.errors import DataRefused
from tests.db.helpers import GRAPH
from tests.pg import Sql

DEEP = "[" * 5_000 + "]" * 5_000


@pytest.fixture(autouse=True)
def workflow(client: Client) -> None:
    client.apply_workflow("w", GRAPH)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("priority => -2147483648", "priority is -2147483648: give a number from -32768 to 32767"),
        ("priority => 32768", "priority is 32768"),
        ("queue => ''", "queue is empty: give a text, or leave it out"),
        ("queue => NULL", "queue is empty"),
        ("queue => repeat('x', 100000)", "queue has 100000 characters: at most 200"),
        ("queue => E'a\\x1b[31m'", "queue has a control character: give a text on one line"),
        ("queue => U&'a\\009b'", "queue has a control character"),
        ("queue => E'a\\nb'", "queue has a control character"),
        ("labels => '5'", 'labels is a JSON number: give an object such as {"team": "blue"}'),
        ("labels => '[]'", "labels is a JSON array"),
        ("""labels => '{"": 1}'""", "a key of labels is empty"),
        (r"""labels => '{"a": "x\u001b"}'""", "labels.a has a control character"),
        (r"""labels => '{"a\n": 1}'""", "a key of labels is empty, has a control character"),
        ("labels => jsonb_build_object('a', repeat('x', 20000))", "labels has 20009 characters as JSON: at most 10000"),
        ("idempotency_key => ''", "idempotency_key is empty"),
        ("idempotency_key => repeat('k', 501)", "idempotency_key has 501 characters: at most 500"),
        ("idempotency_key => 'k', idempotency_window => '-1 hour'", "idempotency_window is -01:00:00"),
        ("idempotency_key => 'k', idempotency_window => '100000000 years'", "idempotency_window is "),
        ("tenant => repeat('t', 10001)", "tenant has 10001 characters: at most 10000"),
        ("concurrency_key => E'k\\t'", "concurrency_key has a control character"),
        ("run_at => 'infinity'", "run_at is infinity (give a time, or NULL for now)"),
        ("run_at => '12000-01-01'", "(give a time of the years 1 to 9999, or NULL for now)"),
        ("run_at => '0044-03-15 BC'", "(give a time of the years 1 to 9999"),
        ("input => '[1, {\"a\": 1e5000}]'", "input[1].a is a number beyond what a double holds: give it as a text"),
        ("input => '{\"x\": -2e308}'", "input.x is a number beyond what a double holds"),
        (f"input => '{DEEP}'", "is nested more than 200 deep: make it flatter"),
    ],
)
def test_submit_names_the_argument(sql: Sql, arguments: str, said: str) -> None:
    with pytest.raises(DataRefused) as caught:
        sql(f"SELECT dray.submit('w', {arguments})".replace("%", "%%"))
    assert said in str(caught.value)
    assert sql("SELECT count(*) FROM dray.execution") == [(0,)]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            "submit_many('w', ARRAY['{}', '[[1e999]]']::jsonb[])",
            "inputs[1][0][0] is a number beyond what a double holds",
        ),
        ("submit_many('w', ARRAY['{}']::jsonb[], queue => '')", "queue is empty"),
        ("submit_many('w', ARRAY['{}']::jsonb[], priority => 99999)", "priority is 99999"),
        ("submit_many('w', ARRAY['{}']::jsonb[], labels => '\"x\"')", "labels is a JSON string"),
        ("pause_queue('')", "queue is empty"),
        ("limit_queue(repeat('q', 201), 1)", "queue has 201 characters"),
        ("set_schedule('', 'w', 'interval', '60')", "name is empty"),
        ("set_schedule('s', 'w', 'interval', '60', queue => '')", "queue is empty"),
        ("set_schedule('s', 'w', 'interval', '60', priority => 100000)", "priority is 100000"),
        ("set_schedule('s', 'w', 'interval', '60', missed => 'some')", 'missed is "some": give skip, latest or all'),
        ("set_schedule('s', 'w', 'interval', '60', missed_limit => 3)", 'missed_limit is 3 with missed "latest"'),
    ],
)
def test_other_functions_too(sql: Sql, call: str, said: str) -> None:
    with pytest.raises(DataRefused) as caught:
        sql(f"SELECT dray.{call}")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "name is empty"),
        ({"name": "a\x1b"}, "name has a control character"),
        ({"name": "n" * 255}, "name has 255 characters"),
        ({"name": "n", "dedupe": ""}, "dedupe is empty"),
        ({"name": "n", "node": "a\nb"}, "node has a control character"),
    ],
)
def test_signals_too(client: Client, given: dict[str, Any], said: str) -> None:
    with pytest.raises(DataRefused, match=said):
        client.signal(client.submit("w"), **given)


def test_names_of_workflows_too(client: Client) -> None:
    with pytest.raises(DataRefused, match="the name of a workflow has a control character"):
        client.apply_workflow("w\x07", GRAPH)


def test_what_is_well_is_taken(client: Client, sql: Sql) -> None:
    deep: Any = 1
    for _ in range(199):
        deep = [deep]
    labels = {"team": "Blau ü", "n": 1, "more": {"a": [1]}}
    given = {"text": "9" * 400, "deep": deep, "big": 1.5e15, "lists": [[1]] * 300}
    found = client.get(client.submit("w", given, labels=labels, tenant="", queue="ü-1", idempotency_key="k" * 500))
    assert (found.input, found.labels) == (given, labels)
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert client.get(client.submit("w", run_at=last)).run_at == last


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (json.loads("[" * 900 + "]" * 900), "is nested more than 200 deep"),
        ({"a": [1, {"b": float("inf")}]}, "input.a[1].b is inf"),
        ({"a": [object()]}, "input.a[0] is a object"),
        ({"a": {"b": "x\0"}}, "input.a.b contains the character NUL"),
    ],
)
def test_the_client_refuses_with_the_place(client: Client, value: Any, said: str) -> None:
    submits: list[Callable[[], Any]] = [lambda: client.submit("w", value)]
    for submit in submits:
        with pytest.raises(DataRefused) as caught:
            submit()
        assert said in str(caught.value)
    with pytest.raises(DataRefused, match=r"inputs\[1\]"):
        client.submit_many("w", [1, value])


def test_the_client_takes_what_a_handler_may_return(client: Client) -> None:
    given = {"at": datetime(2026, 1, 1, tzinfo=UTC), "total": Decimal("1.10"), "id": UUID(int=7), "tags": {"b", "a"}}
    found = client.get(client.submit("w", given)).input
    assert found == {"at": "2026-01-01T00:00:00Z", "total": "1.10", "id": str(UUID(int=7)), "tags": ["a", "b"]}


def test_no_row_breaks_a_list(client: Client, sql: Sql) -> None:
    """Rows of before, or written by hand."""
    rogue = [client.submit("w") for _ in range(4)]
    for execution, run_at in zip(rogue, ("12000-01-01", "0044-03-15 BC", "infinity", "-infinity"), strict=True):
        sql(
            "UPDATE dray.execution SET run_at = %(at)s, wake_at = %(at)s WHERE id = %(id)s::uuid",
            at=run_at,
            id=execution,
        )
    sql("UPDATE dray.execution_input SET labels = %(deep)s::jsonb", deep=f'{{"a": {DEEP}}}')
    plain = client.submit("w")
    assert [each.id for each in client.list()] == sorted([plain, *rogue], reverse=True)
    assert str(client.get(rogue[0]).run_at).startswith("12000-01-01")
    assert str(client.get(rogue[1]).run_at).endswith("BC")
    sql("UPDATE dray.execution_input SET input = '[1e5000]'")
    assert str(client.get(rogue[0]).input).startswith("[1000000")


def test_a_schedule_says_what_its_missed_slots_become(client: Client, sql: Sql) -> None:
    client.set_schedule("plain", "w", Timing.every("60s"))
    client.set_schedule("some", "w", Timing.every("60s"), missed="all", missed_limit=3)
    found = {each.name: (each.missed, each.missed_limit) for each in client.schedules()}
    assert found == {"plain": ("latest", None), "some": ("all", 3)}
    sql("SELECT dray.set_schedule('old', 'w', 'interval', '60', catch_up => true)")
    assert client.schedule("old").missed == "all"
    with pytest.raises(DataRefused, match="missed 'x' is none of skip, latest, all"):
        client.set_schedule("s", "w", Timing.every("60s"), missed="x")
