"""From a file to a result, with nothing but the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.commands import EXAMPLES, SECONDS, Shell

SLOW = {
    "nodes": [{"id": "start", "type": "trigger"}, {"id": "wait", "type": "delay", "config": {"delay_seconds": 3600}}]
}
SLOW["edges"] = [{"from": "start", "to": "wait"}]
FAILING = {
    "nodes": [{"id": "bad", "type": "code", "max_retries": 0, "config": {"language": "bash", "code": "exit 3"}}],
    "edges": [],
}


def stored(shell: Shell, name: str, graph: Any) -> str:
    done = shell("workflow", "apply", "-", "--name", name, given=json.dumps(graph))
    assert done.code == 0, done.err
    return name


def test_a_workflow_is_stored_once_and_shown(shell: Shell) -> None:
    apply = ["workflow", "apply", str(EXAMPLES / "hello.json"), "--name", "shown", "--json"]
    assert shell(*apply).json == {"name": "shown", "version": 1, "created": True, "warnings": []}
    assert shell(*apply).json == {"name": "shown", "version": 1, "created": False, "warnings": []}
    (listed,) = (each for each in shell("workflow", "list", "--json").json if each["name"] == "shown")
    assert (listed["version"], listed["nodes"]) == (1, 2)
    graph = shell("workflow", "show", "shown", "--json").json
    assert [node["id"] for node in graph["nodes"]] == ["start", "greeting"]
    assert "greeting" in shell("workflow", "show", "shown").out


def test_what_show_prints_can_be_applied_again(shell: Shell, tmp_path: Path) -> None:
    stored(shell, "round", json.loads((EXAMPLES / "hello.json").read_text()))
    (tmp_path / "round.json").write_text(shell("workflow", "show", "round", "--json").out)
    assert shell("workflow", "apply", str(tmp_path / "round.json"), "--json").json["created"] is False


def test_what_two_versions_differ_in(shell: Shell) -> None:
    stored(shell, "changed", SLOW)
    assert shell("workflow", "diff", "changed").code == 2, "there is one version only"
    longer = json.loads(json.dumps(SLOW).replace("3600", "7200"))
    stored(shell, "changed", longer)
    assert "config.delay_seconds: 3600 -> 7200" in shell("workflow", "diff", "changed").out
    found = shell("workflow", "diff", "changed", "2", "1", "--json").json
    assert [each["name"] for each in found["changes"]] == ["wait"]


def test_submit_and_wait_prints_the_output(shell: Shell) -> None:
    shell("workflow", "apply", str(EXAMPLES / "hello.json"))
    done = shell("submit", "hello", "--input", '{"name": "Ada"}', "--wait")
    assert done.json["value"] == "Hello, Ada!"
    assert done.err == ""


def test_input_comes_from_a_file_or_from_standard_input(shell: Shell) -> None:
    assert shell("workflow", "apply", str(EXAMPLES / "invoice.yaml")).code == 0
    done = shell("submit", "invoice", "--input", f"@{EXAMPLES / 'invoice_input.json'}", "--wait")
    assert done.json["value"] == {"customer": "Example Ltd", "cents": 12650, "looked_at_twice": True}
    small = json.dumps({"customer": "Small", "lines": [{"quantity": 1, "cents": 100}]})
    assert shell("submit", "invoice", "--input", "-", "--wait", given=small).json["value"]["looked_at_twice"] is False


def test_submit_prints_the_id_and_show_tells_the_whole_story(shell: Shell) -> None:
    shell("workflow", "apply", str(EXAMPLES / "hello.json"))
    execution = shell("submit", "hello", "--input", '{"name": "Ada"}', "--label", "story=told").out.strip()
    until = time.monotonic() + SECONDS
    while (found := shell("executions", "show", execution, "--json").json)["status"] != "completed":
        assert time.monotonic() < until, found
    assert (found["id"], found["status"], found["labels"]) == (execution, "completed", {"story": "told"})
    assert {each["node_key"] for each in found["attempts"]} == {"start", "greeting"}
    text = shell("executions", "show", execution)
    assert (text.code, text.err) == (0, "")
    assert "completed" in text.out
    assert "greeting" in text.out
    listed = shell("executions", "list", "--label", "story=told", "--json").json
    assert [each["id"] for each in listed] == [execution]
    assert execution in shell("executions", "list", "--workflow", "hello", "--status", "completed").out


def test_the_same_idempotency_key_makes_one_execution(shell: Shell) -> None:
    shell("workflow", "apply", str(EXAMPLES / "hello.json"))
    first, second = (shell("submit", "hello", "--idempotency-key", "k1").out for _ in range(2))
    assert shell("submit", "hello", "--idempotency-key", "k1", "--idempotency-window", "never").out == first
    assert shell("submit", "hello", "--idempotency-key", "k1", "--idempotency-window", "0s").out != first
    assert "--idempotency-window 'soon'" in shell("submit", "hello", "--idempotency-window", "soon").line
    assert first == second != ""


def test_a_failed_execution_exits_with_1_and_says_why(shell: Shell) -> None:
    done = shell("submit", stored(shell, "failing", FAILING), "--wait")
    assert (done.code, done.out) == (1, "")
    assert "failed at node 'bad'" in done.line
    assert "exit code 3" in done.line


def test_waiting_ends_with_5_when_the_time_is_over_and_the_execution_can_be_cancelled(shell: Shell) -> None:
    name = stored(shell, "slow", SLOW)
    done = shell("submit", name, "--wait", "--timeout", "0.2")
    assert done.code == 5
    (found,) = shell("executions", "list", "--workflow", name, "--json").json
    for _ in range(2):
        assert shell("executions", "cancel", found["id"]).code == 0
    assert shell("executions", "list", "--status", "completed", "--workflow", name, "--json").json == []


def test_what_has_completed_cannot_be_cancelled(shell: Shell) -> None:
    shell("workflow", "apply", str(EXAMPLES / "hello.json"))
    execution = shell("submit", "hello", "--wait", "--json").json["id"]
    done = shell("executions", "cancel", execution)
    assert (done.code, done.out) == (1, "")
    assert "has completed" in done.line


def test_an_execution_for_later_waits_and_takes_signals(shell: Shell) -> None:
    shell("workflow", "apply", str(EXAMPLES / "hello.json"))
    execution = shell("submit", "hello", "--run-at", "2100-01-01").out.strip()
    assert shell("executions", "show", execution, "--json").json["status"] == "waiting"
    assert shell("executions", "cancel", execution, "--json").json == {"id": execution, "status": "cancelled"}
    assert shell("signal", execution, "approved", "--payload", "{}").code == 1


def test_status_counts_executions_and_drivers(shell: Shell) -> None:
    shell("workflow", "apply", str(EXAMPLES / "hello.json"))
    shell("submit", "hello", "--wait")
    text = shell("status")
    assert (text.code, text.err) == (0, "")
    assert "completed" in text.out
    assert json.dumps(shell("status", "--json").json)


@pytest.mark.parametrize("command", [["workflow", "list"], ["executions", "list"], ["status"], ["settings"]])
def test_json_is_one_value_on_one_line(shell: Shell, command: list[str]) -> None:
    done = shell(*command, "--json")
    assert len(done.out.splitlines()) == 1
    assert done.json is not None
