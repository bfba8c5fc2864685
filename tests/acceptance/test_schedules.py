"""`dray schedule`, as a person or a script uses it."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest

from tests.acceptance.commands import EXAMPLES, SECONDS, Shell


@pytest.fixture
def hello(shell: Shell) -> str:
    assert shell("workflow", "apply", str(EXAMPLES / "hello.json")).code == 0
    return "hello"


def test_a_schedule_is_made_looked_at_and_deleted(shell: Shell, hello: str) -> None:
    made = shell("schedule", "create", "nightly", hello, "--cron", "30 3 * * mon-fri", "--timezone", "Europe/Berlin")
    assert (made.code, made.err) == (0, "")
    assert "nightly active: hello 30 3 * * mon-fri Europe/Berlin, next " in made.out
    (listed,) = (each for each in shell("schedule", "list", "--json").json if each["name"] == "nightly")
    assert (listed["workflow"], listed["zone"], listed["status"]) == (hello, "Europe/Berlin", "active")
    slots = [datetime.fromisoformat(each) for each in shell("schedule", "next", "nightly", "--json").json]
    assert len(slots) == 5
    assert {(each.hour, each.minute) for each in slots} == {(3, 30)}
    assert {each.weekday() for each in slots} == set(range(5))
    assert datetime.fromisoformat(listed["next"]) == slots[0]
    assert len(shell("schedule", "next", "nightly", "--count", "2").out.splitlines()) == 2
    assert "nightly" in shell("schedule", "list").out
    assert "Europe/Berlin" in shell("schedule", "show", "nightly").out
    assert shell("schedule", "show", "nightly", "--json").json["overlap"] == "skip"
    assert shell("schedule", "pause", "nightly").out == "nightly paused\n"
    assert len(shell("schedule", "next", "nightly", "--json").json) == 5
    assert shell("schedule", "resume", "nightly", "--json").json == {"name": "nightly", "status": "active"}
    assert shell("schedule", "delete", "nightly").out == "nightly deleted\n"
    assert shell("schedule", "show", "nightly").code == 4


def test_it_runs_by_itself_and_by_hand(shell: Shell, hello: str) -> None:
    shell("schedule", "create", "ticks", hello, "--every", "1s", "--input", '{"name": "Ada"}', "--overlap", "allow")
    shell("schedule", "create", "quiet", hello, "--every", "1h", "--paused", "--label", "team=blue")
    until = time.monotonic() + SECONDS
    found: list[Any] = []
    while len(found) < 2:
        assert time.monotonic() < until
        found = shell("executions", "list", "--label", "schedule=ticks", "--status", "completed", "--json").json
    shell("schedule", "delete", "ticks")
    execution = shell("executions", "show", found[0]["id"], "--json").json
    assert execution["output"]["value"] == "Hello, Ada!"
    assert execution["input"]["trigger_type"] == "schedule"
    by_hand = shell("schedule", "run", "quiet").out.strip()
    assert shell("executions", "show", by_hand, "--json").json["labels"] == {"team": "blue", "schedule": "quiet"}
    shell("schedule", "delete", "quiet")


def test_a_workflows_file_makes_and_takes_its_schedule(shell: Shell) -> None:
    graph = json.loads((EXAMPLES / "hello.json").read_text())
    scheduled = {**graph, "trigger_config": {"type": "schedule", "cron": "0 3 * * *", "timezone": "Europe/Berlin"}}
    apply = ("workflow", "apply", "-", "--name", "by-file")
    done = shell(*apply, given=json.dumps(scheduled))
    assert (done.code, done.err) == (0, "")
    assert "runs by itself: 0 3 * * * Europe/Berlin" in done.out
    assert shell("schedule", "show", "by-file", "--json").json["from_graph"] is True
    refused = shell("schedule", "delete", "by-file")
    assert refused.code == 2
    assert "made by the trigger of its workflow" in refused.line
    again = shell("workflow", "show", "by-file", "--json").out
    assert shell(*apply, "--json", given=again).json["created"] is False
    assert shell(*apply, given=json.dumps(graph)).code == 0
    assert shell("schedule", "show", "by-file").code == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cron", "99 * * * *"], "is no cron expression: bad minute"),
        (["--cron", "* * * * *", "--timezone", "Mars"], "'Mars' is no time zone"),
        (["--every", "soon"], "a number alone is seconds"),
        (["--every", "5m", "--timezone", "Europe/Berlin"], "--timezone is of --cron and --at"),
        (["--at", "2020-01-01T00:00"], "has passed"),
        (["--at", "tomorrow"], "is no time"),
        ([], "give one of --cron, --every and --at"),
        (["--cron", "@daily", "--every", "1h"], "give one of --cron, --every and --at"),
        (["--every", "1h", "--input", "[1]"], "must be a JSON object"),
        (["--every", "1h", "--overlap", "both"], "is none of skip, queue, allow"),
    ],
)
def test_what_means_no_time_is_refused(shell: Shell, hello: str, arguments: list[str], words: str) -> None:
    done = shell("schedule", "create", "refused", hello, *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.line
    assert shell("schedule", "show", "refused").code == 4


def test_what_does_not_exist_exits_with_4(shell: Shell) -> None:
    for command in ("show", "pause", "resume", "run", "delete", "next"):
        done = shell("schedule", command, "no-such-schedule")
        assert (done.code, done.out) == (4, "")
        assert "no-such-schedule" in done.line
    assert shell("schedule", "create", "x", "no-such-workflow", "--every", "1h").code == 4
