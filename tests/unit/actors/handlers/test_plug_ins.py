"""Node types that others must bring: a place is kept, it fails loudly, and a handler takes it."""

from __future__ import annotations

from typing import Any

import pytest

from dray.actors.context import Branch, NodeContext
from dray.actors.errors import DuplicateHandler, UnknownHandler
from dray.actors.registry import HANDLERS, INSTEAD, find_handler, handler, load_handlers, plug_in
from dray.cluster.errors import GraphInvalid
from dray.cluster.graph.canonical import canonical
from tests.unit.actors.runner.harness import Harness

PLACES = {
    "agent",
    "browser",
    "connector",
    "notification_sms",
    "ocr_switch",
    "osint",
    "rag_switch",
    "scraping",
    "social_monitoring",
}


def one_node(node_type: str, **edges: Any) -> dict[str, Any]:
    return {"nodes": [{"id": "a", "type": node_type, "config": {"task": "{{ input.x }}"}}], "edges": []}


def test_these_are_the_places() -> None:
    assert {name for name, spec in load_handlers().items() if spec.is_plug_in} == PLACES


@pytest.mark.parametrize("node_type", sorted(PLACES))
def test_a_place_is_stored_with_a_warning_and_fails(harness: Harness, node_type: str) -> None:
    stored = canonical(one_node(node_type), HANDLERS)
    assert [each for each in stored["warnings"] if "plug-in" in each] == [
        f"node 'a': fails when it runs: needs plug-in '{node_type}', a handler of your own"
    ]
    failure = harness.run(node_type, '{"task": "x"}').failure
    assert failure is not None
    assert (failure.type, failure.retryable) == ("config", False)
    assert failure.message.startswith(f"needs plug-in '{node_type}': register a handler for it")
    assert "\n" not in failure.message


def test_a_handler_takes_the_place(harness: Harness) -> None:
    @handler("rag_switch")
    def mine(config: dict[str, Any], ctx: NodeContext) -> Branch:
        return Branch("milvus", {"routing": "x"})

    load_handlers()
    plug_in("rag_switch", lambda config, ctx: None)  # as when the place is kept after the handler came
    result = harness.run("rag_switch")
    assert (result.branch, result.output) == ("milvus", '{"routing":"x"}')
    assert not any("plug-in" in each for each in canonical(one_node("rag_switch"), HANDLERS)["warnings"])

    def another(config: dict[str, Any], ctx: NodeContext) -> None: ...

    with pytest.raises(DuplicateHandler, match=r"mine.*another"):
        handler("rag_switch")(another)


@pytest.mark.parametrize("node_type", sorted(INSTEAD))
def test_names_that_nobody_serves_tell_what_to_use(node_type: str) -> None:
    with pytest.raises(UnknownHandler, match=INSTEAD[node_type]):
        find_handler(node_type)
    with pytest.raises(GraphInvalid, match=f"unknown type '{node_type}': use {INSTEAD[node_type]}"):
        canonical(one_node(node_type), HANDLERS)
