"""A person at night: hold one, let it go on, run what failed again, and do it to many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.commands import Shell


def apply(shell: Shell, name: str, nodes: list[object], edges: list[object]) -> None:
    graph = json.dumps({"nodes": nodes, "edges": edges})
    assert shell("workflow", "apply", "-", "--name", name, given=graph).code == 0


@pytest.fixture
def later(shell: Shell) -> str:
    """A workflow that does nothing."""
    apply(shell, "later", [{"id": "start", "type": "trigger"}], [])
    return "later"


def submit(shell: Shell, name: str, *options: str) -> str:
    done = shell("submit", name, *options)
    assert done.code == 0, done.err
    return done.out.strip()


def test_one_is_held_and_goes_on(shell: Shell, later: str) -> None:
    execution = submit(shell, later, "--run-at", "2090-01-01T00:00:00")
    assert shell("pause", execution).out == f"{execution} paused\n"
    assert shell("executions", "show", execution, "--json").json["status"] == "paused"
    assert shell("resume", execution, "--json").json == {"id": execution, "status": "waiting"}
    assert shell("executions", "cancel", execution).code == 0
    for command in ("pause", "resume"):
        done = shell(command, execution)
        assert (done.code, done.line) == (1, f"execution {execution} is cancelled: there is nothing to {command}")
    assert shell("pause", "0190a0b0-0000-7000-8000-000000000000").code == 4


def test_what_failed_is_retried_and_a_part_runs_again(shell: Shell, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    code = f"import os\nif not os.path.exists({str(mended)!r}):\n    raise ValueError('no file')\nresult = 'mended'"
    nodes = [
        {"id": "start", "type": "trigger"},
        {"id": "risky", "type": "code", "config": {"code": code}, "max_retries": 0},
        {"id": "end", "type": "set_variable", "config": {"variable_name": "n", "variable_value": "{{ input.n }}"}},
    ]
    edges = [{"from": "start", "to": "risky"}, {"from": "risky", "to": "end"}]
    apply(shell, "mended", nodes, edges)
    assert shell("submit", "mended", "--wait", "--input", '{"n": 1}').code == 1
    (failed,) = shell("executions", "list", "--workflow", "mended", "--json").json
    assert shell("retry", failed["id"], "--wait").code == 1
    mended.touch()
    again = shell("retry", failed["id"], "--json").json
    assert again["source_id"] == failed["id"]
    assert shell("retry", failed["id"], "--wait", "--json").json["output"]["value"] == 1
    done = shell("rerun", again["id"], "--from", "end", "--input", '{"n": 2}', "--wait", "--json")
    assert (done.json["source_id"], done.json["output"]["value"]) == (again["id"], 2)
    shown = shell("executions", "show", done.json["id"]).out
    assert f"source_id     {again['id']}" in shown
    unknown = shell("rerun", again["id"], "--from", "nowhere")
    assert (unknown.code, 'no node "nowhere"' in unknown.line) == (2, True)
    refused = shell("retry", again["id"])
    assert (refused.code, "is completed" in refused.line) == (1, True)


def test_what_failed_by_its_graph_goes_on_in_the_latest_version(shell: Shell) -> None:
    def node(code: str) -> dict[str, object]:
        return {"id": "risky", "type": "code", "config": {"code": code}, "max_retries": 0}

    start, edges = {"id": "start", "type": "trigger"}, [{"from": "start", "to": "risky"}]
    apply(shell, "broken", [start, node("raise ValueError('broken')")], edges)
    failed = json.loads(shell("submit", "broken", "--wait", "--json").out)["id"]
    apply(shell, "broken", [start, node("result = 1")], edges)
    assert shell("retry", failed, "--wait").code == 1
    assert shell("retry", failed, "--latest", "--wait", "--json").json["version"] == 2
    assert shell("rerun", failed, "--from", "risky", "--latest", "--wait", "--json").json["version"] == 2
    apply(shell, "broken", [node("result = 1")], [])
    refused = shell("retry", failed, "--latest")
    assert (refused.code, refused.line.endswith("at another place: start")) == (1, True)
    assert shell("bulk", "pause", "--latest").line == "--latest is of retry: leave it out"


def test_many_are_counted_then_done(shell: Shell, later: str) -> None:
    mine = ("--label", "batch=7", "--queue", "nobody")
    ids = {submit(shell, later, *mine) for _ in range(3)}
    other = submit(shell, later, "--queue", "nobody")
    taken = (*mine, "--workflow", later, "--status", "queued", "--status", "paused")
    assert shell("bulk", "pause", *taken, "--dry-run").out == "pause: 3 executions\n"
    asked = shell("bulk", "pause", *taken)
    assert (asked.code, asked.line) == (
        2, "pause 3 executions? nobody is there to answer: give --yes, or --dry-run to count only",
    )  # fmt: skip
    assert shell("bulk", "pause", *taken, "--older-than", "1h", "--yes").out == "pause: done to 0 of 0 executions\n"
    assert shell("bulk", "pause", *taken, "--yes", "--json").json == {
        "action": "pause", "dry_run": False, "matched": 3, "done": 3,
    }  # fmt: skip
    listed = shell("executions", "list", *mine, "--status", "paused", "--status", "failed", "--json").json
    assert {each["id"] for each in listed} == ids
    assert shell("executions", "list", *mine, "--until", "2020-01-01", "--json").json == []
    assert len(shell("executions", "list", *mine, "--since", "2020-01-01", "--json").json) == 3
    assert shell("bulk", "cancel", *mine, "--yes").out == "cancel: done to 3 of 3 executions\n"
    assert shell("executions", "show", other, "--json").json["status"] == "queued"
    assert shell("bulk", "cancel", "--queue", "nobody", "--yes").out == "cancel: done to 1 of 1 execution\n"
    assert "none of cancel" in shell("bulk", "delete").line
    assert "write numbers with s" in shell("bulk", "cancel", "--older-than", "soon").line
    assert "none of queued" in shell("bulk", "cancel", "--status", "done").line


def test_prune_counts_and_deletes(shell: Shell) -> None:
    assert shell("prune", "--older-than", "9w", "--dry-run").out.startswith("would delete 0 executions")
    assert shell("prune", "--older-than", "9w", "--yes", "--json").json == {"dry_run": False, "count": 0}
    assert shell("prune", "--older-than", "1d", "--status", "queued").code == 2
