"""Signals and approvals through the client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused, ExecutionNotFound, NotWaiting
from dray.store.records import Kind, Outcome
from tests.db.helpers import QUEUES, claimed, end, outcome
from tests.pg import Sql

NOBODY = "01970f3e-5b1c-7a42-9d07-3f2b8c6e1a55"


def asks(execution: str, node: str = "ask", attempt: int = 1, **other: Any) -> Outcome:
    awaits = {"signal": "human_input", "state": {"message": "Ship?", "options": ["ship", "hold"], "until": 1}}
    return outcome(execution, node, json.dumps(awaits), attempt, kind=Kind.WAITS_FOR_NEWS, wait=3600.0)._replace(
        **other
    )


def test_who_waits_for_a_person_is_listed(store: DriverStore, client: Client) -> None:
    incarnation, (first, second, third, ended) = claimed(store, client, 4)
    other = outcome(third.id, "go", '{"signal": "go"}', kind=Kind.WAITS_FOR_NEWS)
    done = [asks(second.id, "done"), outcome(second.id, "done", '{"decision": "ship"}', 2)]
    again = [asks(second.id, "loop[3]/ask"), asks(second.id, "loop[3]/ask", 2)]
    parks = [end(each.id, "waiting") for each in (first, second, third)]
    store.commit(incarnation, [asks(first.id), other, asks(ended.id), *done, *again], [*parks, end(ended.id)])
    found = client.approvals()
    assert [(each.execution, each.node, each.attempt) for each in found] == [
        (second.id, "loop[3]/ask", 2),
        (first.id, "ask", 1),
    ]
    (one,) = client.approvals(first.id)
    assert (one.workflow, one.message, one.options) == ("w", "Ship?", ["ship", "hold"])
    assert one.due is not None
    assert one.since < one.due
    assert len(client.approvals(limit=1)) == 1


def test_a_node_whose_answer_failed_and_is_tried_again_is_still_listed(store: DriverStore, client: Client) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [asks(claim.id), outcome(claim.id, "ask", "{}", 2, kind=Kind.RETRIED)], [])
    assert len(client.approvals()) == 1


def test_an_answer_goes_to_its_node_and_the_first_counts(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [asks(claim.id, "loop[3]/ask")], [end(claim.id, "waiting")])
    assert client.approve(claim.id, "hold", comment="later").node == "loop[3]/ask"
    client.approve(claim.id, "ship", node="ask")
    assert sql("SELECT name, node, payload FROM dray.signal") == [
        ("human_input", "loop[3]/ask", {"decision": "hold", "comment": "later"})
    ]
    assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [claim.id]


def test_what_cannot_be_answered_is_refused(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    with pytest.raises(NotWaiting, match="waits for no approval"):
        client.approve(claim.id, "ship")
    store.commit(incarnation, [asks(claim.id), asks(claim.id, "two")], [])
    with pytest.raises(DataRefused, match="name one: ask, two"):
        client.approve(claim.id, "ship")
    with pytest.raises(DataRefused, match="it has ship, hold"):
        client.approve(claim.id, "eat", node="two")
    with pytest.raises(NotWaiting, match="node 'three'"):
        client.approve(claim.id, "ship", node="three")
    with pytest.raises(ExecutionNotFound):
        client.approve(NOBODY, "ship")
    assert sql("SELECT count(*) FROM dray.signal") == [(0,)]


def test_a_signal_may_have_an_address_and_a_key(store: DriverStore, client: Client, sql: Sql) -> None:
    _, (claim,) = claimed(store, client)
    for payload in (1, 2):
        assert client.signal(claim.id, "go", payload, node="a", dedupe="k") is True
    assert sql("SELECT name, node, dedupe, payload FROM dray.signal") == [("go", "a", "k", 1)]
    with pytest.raises(ExecutionNotFound):
        client.signal(NOBODY, "go")
