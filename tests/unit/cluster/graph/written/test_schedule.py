"""The schedule that a workflow's file asks for, however it says so, and the ones that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.errors import GraphInvalid
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.files import canonical_graph

HANDLERS = dict(load_handlers())
NIGHTLY = {"kind": "cron", "expression": "0 3 * * *", "zone": "UTC"}
BERLIN = {**NIGHTLY, "zone": "Europe/Berlin"}
CRON = {"trigger_type": "schedule", "cron_expression": "0 3 * * *"}


def graph(trigger_config: Any = None, *triggers: dict[str, Any]) -> dict[str, Any]:
    nodes = [{"id": f"t{number}", "type": "trigger", "config": each} for number, each in enumerate(triggers or ({},))]
    return {"nodes": nodes, "edges": [], "trigger_config": trigger_config}


def stored(source: Any) -> Any:
    return canonical(source, HANDLERS).get("schedule")


def refused(source: Any) -> list[str]:
    with pytest.raises(GraphInvalid) as caught:
        canonical(source, HANDLERS)
    return [str(each) for each in caught.value.problems]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        ({}, None),
        ({"type": "manual"}, None),
        ({"type": "manual", "cron": ""}, None),
        ({"type": "manual", "cron": "left over"}, None),
        ({"type": "webhook", "webhook_path": "/orders"}, None),
        ({"type": "schedule", "cron": "0 3 * * *"}, NIGHTLY),
        ({"type": "cron", "cron_expression": " 0  3 * * * "}, NIGHTLY),
        ({"type": "Schedule", "cron": "0 3 * * *", "timezone": None}, NIGHTLY),
        ({"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, BERLIN),
        ({"type": "cron", "cron": "0 3 * * *", "tz": "Europe/Berlin"}, BERLIN),
        ({"type": "schedule", "interval_seconds": 90}, {"kind": "interval", "expression": "90", "zone": "UTC"}),
        ({"type": "interval", "every": "1h"}, {"kind": "interval", "expression": "3600", "zone": "UTC"}),
        (
            {"type": "once", "at": "2030-01-31T08:00", "timezone": "Europe/Berlin"},
            {"kind": "once", "expression": "2030-01-31T08:00", "zone": "Europe/Berlin"},
        ),
        (
            {
                "cron": "0 3 * * *",
                "overlap": "queue",
                "missed": "all",
                "input": {"a": 1},
                "priority": "HIGH",
                "queue": "q",
            },
            {**NIGHTLY, "overlap": "queue", "missed": "all", "input": {"a": 1}, "priority": 10, "queue": "q"},
        ),
        ({"cron": "0 3 * * *", "enabled": False}, {**NIGHTLY, "paused": True}),
    ],
)
def test_trigger_config_as_it_is_written(given: Any, found: Any) -> None:
    assert stored(graph(given)) == found


def test_a_trigger_node_says_it_too() -> None:
    assert stored(graph(None, CRON)) == NIGHTLY
    assert stored(graph(None, {**CRON, "timezone": "Europe/Berlin"})) == BERLIN
    assert stored(graph(None, {"trigger_type": "manual", "cron_expression": "0 3 * * *"})) is None
    assert stored(graph(None, {**CRON, "cron_expression": "@daily"})) == {**NIGHTLY, "expression": "@daily"}


def test_both_may_say_the_same_and_complete_each_other() -> None:
    assert stored(graph({"type": "schedule", "cron": "0 3 * * *"}, CRON)) == NIGHTLY
    assert stored(graph({"type": "schedule", "timezone": "Europe/Berlin", "catch_up": True}, CRON)) == {
        **BERLIN,
        "missed": "all",
    }
    assert stored(graph({"type": "cron", "cron": "0 3 * * *", "timezone": "Europe/Berlin"}, CRON, CRON)) == BERLIN
    assert stored(graph({"type": "cron", "cron": "0 3 * * *"}, {"trigger_type": "manual"})) == NIGHTLY


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (graph({"type": "schedule", "cron": "99 * * * *"}), "trigger_config: '99 * * * *' is no cron expression"),
        (graph({"type": "schedule", "cron": "every day"}), "write five fields"),
        (graph({"type": "schedule"}), "says schedule, but not when"),
        (graph({"type": "cron", "cron": "* * * * *", "timezone": "Mars"}), "'Mars' is no time zone"),
        (graph({"type": "cron", "cron": "* * * * *", "interval": 5}), "give one of them"),
        (graph({"cron": "* * * * *", "overlap": "both"}), "trigger_config: overlap: "),
        (graph({"cron": "* * * * *", "input": [1]}), "trigger_config: input: "),
        (graph({"cron": 5}), "trigger_config: cron: "),
        (graph("daily"), "trigger_config: must be an object"),
        (graph({"type": "interval", "every": "soon"}), "a number alone is seconds"),
        (graph({"type": "schedule", "cron": "0 4 * * *"}, CRON), "and node 't0' '0 3 * * *' in UTC"),
        (graph({"type": "manual"}, CRON), "says 'manual', but node 't0' says schedule"),
        (graph(None, CRON, {**CRON, "cron_expression": "0 4 * * *"}), "a workflow has one schedule"),
        (graph(None, {**CRON, "timezone": "Mars"}), "node 't0': 'Mars' is no time zone"),
        (graph(None, {**CRON, "cron_expression": "99 * * * *"}), "bad minute"),
        (graph(None, {"trigger_type": "schedule"}), "write five fields"),
    ],
)
def test_a_schedule_that_means_no_time_is_refused(source: Any, words: str) -> None:
    assert any(words in each for each in refused(source)), refused(source)


def test_what_is_stored_comes_out_as_it_went_in() -> None:
    first = canonical(
        graph({"type": "cron", "timezone": "Europe/Berlin", "priority": "low", "what": 1}, CRON), HANDLERS
    )
    assert first["schedule"] == {**BERLIN, "priority": 1}
    assert first["warnings"] == ["trigger_config: key 'what' is not read"]
    assert canonical(first, HANDLERS) == first


def test_a_type_that_nobody_knows_is_told() -> None:
    found = canonical(graph({"type": "sometimes", "cron": "* * * * *"}), HANDLERS)
    assert "schedule" not in found
    assert "type 'sometimes' is not known" in found["warnings"][0]


def test_the_platforms_row_of_a_workflow_is_read() -> None:
    inner = {"nodes": [{"id": "a", "type": "trigger"}], "edges": []}
    whole = {
        "name": "w",
        "graph_config": inner,
        "trigger_config": {"type": "cron", "cron": "0 3 * * *"},
        "is_active": True,
    }
    assert canonical_graph(whole) == {**canonical_graph(inner), "schedule": NIGHTLY}
    assert canonical_graph({"name": "w", "graph_config": inner, "trigger_config": None}) == canonical_graph(inner)


@pytest.mark.parametrize(
    "trigger",
    [
        {"trigger_config": {"type": "schedule", "cron": "0 3 * * *", "is_active": True}},
        {"trigger_config": {}, "graph_config": {"nodes": graph(None, CRON)["nodes"], "edges": []}},
    ],
)
def test_the_schedule_of_a_workflow_that_is_not_active_begins_paused(trigger: dict[str, Any]) -> None:
    bare = {"nodes": graph()["nodes"], "edges": []}
    workflow = {"name": "nightly", "version": 1, "graph_config": bare, "is_active": False, **trigger}
    assert canonical_graph(workflow)["schedule"] == {**NIGHTLY, "paused": True}
    assert canonical_graph({**workflow, "is_active": True})["schedule"].get("paused", False) is False
    assert canonical_graph(canonical_graph(workflow)) == canonical_graph(workflow)
