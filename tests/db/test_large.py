"""Large outcomes: how they are stored, and that a driver that goes on reads only those that it needs."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.records import StoredOutcome
from tests.db.helpers import claimed, outcome
from tests.db.test_driver import HANDLERS, driving, until
from tests.pg import Sql

MIB = 1 << 20
ROWS = json.dumps({"rows": [{"name": f"row {n}", "text": "the same text", "n": n} for n in range(20_000)]})
RANDOM = json.dumps(
    {"x": "".join(random.Random(7).choices("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN+-", k=MIB))}
)


@pytest.mark.usefixtures("own_database")
def test_a_large_outcome_is_stored_compressed_and_apart(store: DriverStore, client: Client, sql: Sql) -> None:
    driver, (claim,) = claimed(store, client)
    assert len(ROWS) > MIB
    store.commit(driver, [outcome(claim.id, text=ROWS)], [])
    ((method, size, row, apart),) = sql(
        "SELECT pg_column_compression(outcome), pg_column_size(outcome), pg_relation_size(t.oid), "
        "pg_relation_size(t.reltoastrelid) FROM dray.checkpoint, pg_class t WHERE t.oid = 'dray.checkpoint'::regclass"
    )
    assert method in ("lz4", "pglz")
    assert size < MIB / 2
    assert row == 8192, "the row is on one page"
    assert apart >= size
    assert sql("SELECT length(outcome::text) FROM dray.checkpoint")[0][0] >= MIB


def test_what_is_loaded_is_small_and_the_rest_can_be_asked_for(store: DriverStore, client: Client) -> None:
    driver, (claim,) = claimed(store, client)
    store.commit(
        driver,
        [
            outcome(claim.id, "a", RANDOM),
            outcome(claim.id, "b", ROWS),
            outcome(claim.id, "c"),
            outcome(claim.id, "d", None),
        ],
        [],
    )
    found = store.load_checkpoints([claim.id])
    assert [(each.node_key, each.large, each.outcome) for each in found] == [
        ("a", True, None), ("b", True, None), ("c", False, '{"x": 1}'), ("d", False, None),
    ]  # fmt: skip
    b, a = store.load_outcomes([found[1], found[0]])
    assert (b.node_key, b.large, json.loads(b.outcome or "")) == ("b", False, json.loads(ROWS))
    assert (a.node_key, a.large, a.outcome) == ("a", False, RANDOM)
    assert store.load_outcomes([]) == []


def large(node_id: str, letter: str) -> dict[str, Any]:
    """A node whose output is large. Letters by chance do not compress well."""
    draw = "''.join(random.Random(1).choices('abcdefghij', k=300_000))"
    code = f"import random\nresult = {{'{letter}': {draw}}}"
    return {"id": node_id, "type": "code", "config": {"language": "python", "code": code}}


GRAPH = {
    "nodes": [
        large("dead", "a"), large("used", "b"),
        {"id": "go", "type": "wait_for_signal", "config": {"signal_name": "go"}},
        {"id": "end", "type": "set_variable", "config": {
            "variable_name": "n", "variable_value": "{{ size(nodes.used.output.result.b) }}"}},
    ],
    "edges": [{"from": a, "to": b} for a, b in (("dead", "used"), ("used", "go"), ("go", "end"))],
}  # fmt: skip


def test_a_driver_that_goes_on_loads_what_is_named(
    store: DriverStore, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.apply_workflow("large", canonical(GRAPH, HANDLERS))
    with driving(store):
        execution = client.submit("large")
        until(lambda: client.get(execution).status in ("waiting", "failed"), 60)
    assert [each.large for each in store.load_checkpoints([execution])] == [True, False, True]
    loaded: list[str] = []
    load = store.load_outcomes

    def noted(wanted: list[StoredOutcome]) -> list[StoredOutcome]:
        loaded.extend(each.node_key for each in wanted)
        return load(wanted)

    monkeypatch.setattr(store, "load_outcomes", noted)
    client.signal(execution, "go")
    with driving(store):
        found = client.wait(execution, 60)
    assert found.error is None
    assert found.output["value"] == 300_000
    assert loaded == ["used"]
