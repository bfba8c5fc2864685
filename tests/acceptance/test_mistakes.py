"""A user's mistake is one line that says what to do, the right exit code, and never a traceback."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.commands import EXAMPLES, Shell

NOBODY = "01970000-0000-7000-8000-000000000000"


@pytest.fixture
def lonely(tmp_path: Path) -> Shell:
    """A shell without any database."""
    return Shell(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["submit"], "Missing argument 'NAME'"),
        (["submit", "hello", "--colour", "red"], "--colour"),
        (["submit", "hello", "--priority", "urgent"], "--priority"),
        (["submit", "hello", "--input", "{'a': 1}"], "--input is not JSON"),
        (["submit", "hello", "--input", "@missing.json"], "cannot read missing.json"),
        (["submit", "hello", "--input", '{"a": 1, "a": 2}'], "'a' is given twice"),
        (["submit", "hello", "--label", "blue"], "write name=value"),
        (["submit", "hello", "--timeout", "1"], "--timeout is of --wait"),
        (["submit", "hello", "--run-at", "tomorrow"], "--run-at"),
        (["executions", "list", "--status", "done"], "is none of queued, running"),
        (["workflow", "apply", "missing.json"], "cannot read missing.json"),
        (["workflow", "validate", "-"], "is not JSON"),
        (["signal", "x", "y", "--payload", "{"], "--payload is not JSON"),
        (["worker", "--executor", "threads"], "--executor"),
        (["worker", "--ray-address", "nowhere"], "--ray-address"),
        (["workflow", "validate", str(EXAMPLES / "hello.json"), "--handlers", "no_such"], "cannot load handlers from"),
    ],
)
def test_wrong_usage_exits_with_2(lonely: Shell, arguments: list[str], words: str) -> None:
    done = lonely(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.line


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["migrate"], ["worker"], ["submit", "hello"], ["executions", "list"], ["workflow", "list"]],
)
def test_without_a_database_a_command_says_how_to_have_one(lonely: Shell, arguments: list[str]) -> None:
    done = lonely(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "set DRAY_DATABASE_URL, or start `dray dev`" in done.line


@pytest.mark.parametrize("arguments", [["status"], ["migrate"], ["submit", "hello"]])
def test_a_database_that_does_not_answer_exits_with_3_and_shows_no_password(
    lonely: Shell, arguments: list[str]
) -> None:
    done = lonely(*arguments, DRAY_DATABASE_URL="postgres://u:s3cret@127.0.0.1:1/d")
    assert (done.code, done.out) == (3, "")
    assert "database unavailable" in done.line
    assert "s3cret" not in done.err


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DRAY_DATABASE_URL": "mysql://u:s3cret@h/d"}, "not a Postgres"),
        ({"DRAY_DATABSE_URL": "postgres://u:s3cret@h/d"}, "did you mean DRAY_DATABASE_URL?"),
        ({"DRAY_HEARTBEAT": "10"}, "a third of DRAY_LEASE_TTL"),
        ({"WORKFLOW_WORKER_CONCURRENCY": "0"}, "WORKFLOW_WORKER_CONCURRENCY"),
    ],
)
def test_settings_that_cannot_be_are_refused(lonely: Shell, environ: dict[str, str], words: str) -> None:
    done = lonely("status", **environ)
    assert (done.code, done.out) == (2, "")
    assert words in done.line
    assert "s3cret" not in done.err


def test_a_refused_graph_is_told_with_a_line_for_each_problem(lonely: Shell) -> None:
    graph = {"nodes": [{"id": "a", "type": "triger"}, {"id": "a", "type": "map"}], "edges": [{"from": "a", "to": "b"}]}
    done = lonely("workflow", "validate", "-", given=json.dumps(graph))
    assert (done.code, done.out) == (2, "")
    first, *problems = done.err.splitlines()
    assert first == f"dray: graph refused, {len(problems)} problems:"
    assert {each.split(":")[0].strip() for each in problems} >= {"node 'a'", "edge 'a' -> 'b'"}


def test_tables_that_are_missing_exit_with_3_and_name_the_command(lonely: Shell, postgres: str) -> None:
    for arguments in (["status"], ["submit", "hello"], ["worker", "--executor", "local"]):
        done = lonely(*arguments, DRAY_DATABASE_URL=postgres)
        assert (done.code, done.out) == (3, ""), done.err
        assert "run `dray migrate`" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "no-such-workflow"],
        ["workflow", "show", "no-such-workflow"],
        ["executions", "show", NOBODY],
        ["executions", "cancel", NOBODY],
        ["executions", "show", "not-an-id"],
        ["signal", NOBODY, "x"],
    ],
)
def test_what_does_not_exist_exits_with_4(shell: Shell, arguments: list[str]) -> None:
    done = shell(*arguments)
    assert (done.code, done.out) == (4, "")
    assert arguments[-1] in done.line or NOBODY in done.line


@pytest.mark.parametrize("given", ['{"a": NaN}', r'{"a": "\u0000"}', r'{"a": "\ud800"}', "1e999"])
def test_input_that_a_database_cannot_hold_exits_with_2(shell: Shell, given: str) -> None:
    shell("workflow", "apply", str(EXAMPLES / "hello.json"))
    done = shell("submit", "hello", "--input", given)
    assert (done.code, done.out) == (2, "")
    assert done.line


def test_a_reader_that_hangs_up_is_no_error(shell: Shell) -> None:
    listing = subprocess.Popen(
        shell.command("settings"), env=shell.environ, cwd=shell.folder,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert listing.stdout is not None
    listing.stdout.close()
    assert listing.stderr is not None
    assert listing.stderr.read() == ""
    listing.stderr.close()
    listing.wait(60)
