"""Signals and approvals from a shell."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from dray.cluster.cli.base import Exit
from tests.acceptance.commands import SECONDS, Shell

GRAPH = {
    "nodes": [
        {"id": "go", "type": "wait_for_signal", "config": {"signal_name": "go"}},
        {"id": "ask", "type": "human_approval", "config": {"message": "Ship it?", "options": ["ship", "hold"]}},
        {"id": "yes", "type": "set_variable", "config": {"variable_name": "v", "variable_value": "shipped"}},
    ],
    "edges": [{"from": "go", "to": "ask"}, {"from": "ask", "to": "yes", "branch": "ship"}],
}


def waiting(shell: Shell, execution: str) -> Any:
    for _ in range(SECONDS * 2):
        if found := shell("approvals", "list", "--execution", execution, "--json").json:
            return found
        time.sleep(0.5)
    raise AssertionError("it never asked")


def test_a_person_answers_from_a_shell(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "approve.json"
    file.write_text(json.dumps(GRAPH))
    assert shell("workflow", "apply", str(file)).code == 0
    execution = shell("submit", "approve").out.strip()
    assert shell("signal", execution, "go", "--payload", "{}", "--node", "go", "--dedupe", "k").code == 0
    ((found),) = waiting(shell, execution)
    assert (found["node"], found["message"], found["options"]) == ("ask", "Ship it?", ["ship", "hold"])
    assert execution in shell("approvals", "list").out
    done = shell("approvals", "answer", execution, "eat")
    assert (done.code, "it has ship, hold" in done.line) == (Exit.USAGE, True)
    assert shell("approvals", "answer", execution, "ship", "--comment", "ok").out.strip() == f"{execution} ask: ship"
    for _ in range(SECONDS * 2):
        shown = shell("executions", "show", execution, "--json").json
        if shown["status"] == "completed":
            break
        time.sleep(0.5)
    assert shown["output"]["value"] == "shipped"
    done = shell("approvals", "answer", execution, "ship")
    assert (done.code, "waits for no approval" in done.line) == (Exit.FAILED, True)
    assert shell("approvals", "list", "--execution", execution, "--json").json == []
