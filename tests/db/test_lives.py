"""The time-out of a node that waits, in drivers on a real database: it holds over parks, and from one to the next."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from dray.cluster.cli.history import judge, lines
from dray.cluster.history.judge import Question
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from tests.db.test_driver import driving
from tests.db.test_news_end_to_end import ASK, GO, SAY, apply, edge, ended, node, parked

LONG = node("long", "delay", delay_seconds=3_600)
LOOKS = node(
    "looks",
    "delay",
    delay_type="until_condition",
    condition_expression="false",
    interval_seconds=0.1,
    timeout_seconds=900,
)
SUB = node("sub", "sub_workflow", workflow_id="child", wait_for_completion=True)


def can_be_true(engine: Engine) -> None:
    report = judge(engine, Question(least={"waits": 1}))
    assert not report.violations, "\n".join(lines(report))


@pytest.mark.parametrize("waits", [LONG, LOOKS, GO, ASK, SUB], ids=lambda each: each["id"])
def test_it_holds(store: DriverStore, client: Client, engine: Engine, waits: dict[str, Any]) -> None:
    apply(client, "child", [LONG])
    late = {**waits, "timeout": 0.5}
    apply(client, "w", [late])
    catch = node("catch", "catch", error_type="timeout")
    apply(client, "v", [late, catch], edge(waits["id"], "catch", "failed"))
    with driving(store):
        found = ended(client, client.submit("w", {"n": 1}), "failed")
        assert found.error is not None
        assert (found.error["type"], found.error["node"]) == ("timeout", waits["id"])
        assert "timed out: it did not end within 0.5 s" in found.error["message"]
        output = ended(client, client.submit("v", {"n": 1})).output
        assert (output["caught"], output["error"]["type"]) == (True, "timeout")
        for each in client.list(workflow="child"):  # a child that nobody waits for any more
            ended(client, each.id, "cancelled")
    assert not client.approvals()
    can_be_true(engine)


def test_it_is_counted_from_what_an_earlier_driver_recorded(store: DriverStore, client: Client, engine: Engine) -> None:
    late = {**LOOKS, "timeout": 1.5, "config": {**LOOKS["config"], "interval_seconds": 0.5}}
    apply(client, "w", [late, SAY], edge("looks", "say", "failed"))
    execution = client.submit("w", {"n": 5})
    for _ in range(2):
        with driving(store):
            parked(client, execution)
    with driving(store):
        assert ended(client, execution).output["value"] == 5
    attempts = client.attempts(execution)
    failed = next(each for each in attempts if each.kind == "failed")
    looks = [each for each in attempts if each.node_key == "looks"]
    lasted = (failed.at - looks[0].at).total_seconds()
    assert lasted >= 1.4, "its life is not shorter"
    assert len(looks) <= 6, "nor begins it anew with a driver"
    can_be_true(engine)
