"""An answer is for the question that it was given to: it approves no later one, and a second one changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from tests.db.test_driver import HANDLERS, PATIENCE, driving, until
from tests.pg import Sql

ASKS = [{"id": each, "type": "human_approval", "config": {"message": f"{each}?"}} for each in ("first", "second")]
GRAPH = {"nodes": ASKS, "edges": [{"from": "first", "to": "second", "label": "approve"}]}


def answer(node: str | None, decision: str = "approve") -> dict[str, Any]:
    return {"decision": decision, **({} if node is None else {"node_id": node})}


def asked(client: Client, execution: str) -> list[str]:
    return [each.node for each in client.approvals(execution=execution)]


@pytest.mark.parametrize("node", ["first", None])
def test_an_answer_that_comes_twice_does_not_approve_the_next_question(
    store: DriverStore, client: Client, sql: Sql, node: str | None
) -> None:
    client.apply_workflow("w", canonical(GRAPH, HANDLERS))
    with driving(store):
        execution = client.submit("w")
        until(lambda: asked(client, execution) == ["first"])
        client.signal(execution, "human_input", answer(node))
        client.signal(execution, "human_input", answer(node))
        until(lambda: asked(client, execution) == ["second"])
        client.signal(execution, "human_input", answer("first"))
        until(lambda: client.get(execution).status == "waiting")
        assert asked(client, execution) == ["second"]
        client.signal(execution, "human_input", answer("second"))
        assert client.wait(execution, PATIENCE).status == "completed"
    assert sql("SELECT count(*) FROM dray.signal WHERE consumed_at IS NOT NULL") == [(2,)]
