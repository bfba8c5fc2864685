"""A person at night, with nothing but the command line: stop a queue, let it go on, limit it."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.commands import Shell

GRAPH = {"nodes": [{"id": "start", "type": "trigger"}], "edges": []}


def queue(shell: Shell, name: str) -> dict[str, Any]:
    (found,) = (each for each in shell("queues", "list", "--json").json if each["name"] == name)
    return dict(found)


def test_a_queue_is_stopped_and_goes_on(shell: Shell) -> None:
    assert shell("workflow", "apply", "-", "--name", "queued", given=json.dumps(GRAPH)).code == 0
    assert shell("queues", "pause", "default").out == "default paused\n"
    try:
        execution = shell("submit", "queued", "--priority", "Critical", "--input", '{"a": 1}').out.strip()
        assert queue(shell, "default")["paused"] is True
        assert queue(shell, "default")["queued"] >= 1
        assert "paused" in shell("queues", "list").out
        waited = shell("submit", "queued", "--wait", "--timeout", "1")
        assert waited.code == 5
        found = shell("executions", "show", execution, "--json").json
        assert (found["status"], found["priority"]) == ("queued", 20)
        assert found["held_by"] == ["queue default is paused"]
        assert "held by       queue default is paused\n" in shell("executions", "show", execution).out
    finally:
        assert shell("queues", "resume", "default", "--json").json == {"queue": "default", "state": "resumed"}
    assert shell("submit", "queued", "--wait", "--timeout", "60").code == 0
    assert shell("queues", "resume", "default").out == "default was not paused\n"


def test_limits_of_a_queue_are_changed_one_by_one(shell: Shell) -> None:
    def limits() -> tuple[Any, ...]:
        found = queue(shell, "reports")
        return found["concurrency"], found["rate"], found["per"], found["ageing"]

    assert shell("queues", "limit", "reports", "--concurrency", "2", "--rate", "10").code == 0
    assert limits() == (2, 10, 1.0, 60.0)
    assert shell("queues", "limit", "reports", "--per", "30", "--ageing", "5").code == 0
    assert limits() == (2, 10, 30.0, 5.0)
    told = shell("queues", "limit", "reports", "--rate", "none").out
    assert told == "reports: concurrency 2, rate none, ageing 5 s\n"
    assert limits() == (2, None, None, 5.0)


def test_what_makes_no_sense_is_told(shell: Shell) -> None:
    assert "nothing to change" in shell("queues", "limit", "reports").line
    assert "dray queues pause" in shell("queues", "limit", "reports", "--concurrency", "0").line
    assert "--per is of --rate" in shell("queues", "limit", "other", "--per", "3").line
    assert "urgent" in shell("submit", "queued", "--priority", "urgent").line
