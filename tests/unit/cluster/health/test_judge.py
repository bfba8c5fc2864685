"""What a report says of a driver: every state, and what each question makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from dray.cluster.health.judge import GOOD, SILENCE, Verdict, judge, worst

NOW = 1000.0
STUCK = 60.0


def report(**changed: Any) -> dict[str, Any]:
    found = {
        "pid": 7, "written": NOW, "started": NOW - 500, "phase": "running", "incarnation": "i", "turned": NOW,
        "progressed": NOW, "lease_ttl": 15.0, "renewed": NOW - 5, "held": 0, "in_flight": 0, "nodes_waiting": 0,
        "runners": [], "blocked": {},
    }  # fmt: skip
    return {**found, **changed}


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "alive"),
        ({"held": 3}, "progressing"),
        ({"held": 3, "progressed": NOW - 250}, "progressing"),  # one long node
        ({"written": NOW - SILENCE - 1}, "gone"),
        ({"written": NOW + 5000}, "gone"),  # of before a reboot
        ({"phase": "starting", "renewed": None, "lease_ttl": 0}, "starting"),
        ({"turned": NOW - STUCK - 1}, "stuck"),
        ({"turned": NOW - STUCK + 1}, "alive"),
        ({"held": 1, "blocked": {"nothing is committed": NOW - STUCK - 1}}, "stuck"),
        ({"held": 1, "blocked": {"nothing is committed": NOW - STUCK + 1}}, "progressing"),
        ({"renewed": NOW - 11}, "late"),
        ({"phase": "draining", "held": 2}, "draining"),
        ({"phase": "draining", "turned": NOW - STUCK - 1}, "stuck"),
    ],
)
def test_the_state(changed: dict[str, Any], state: str) -> None:
    found = judge(report(**changed), NOW, STUCK)
    assert found.state == state
    assert "\n" not in found.reason


def test_no_report_is_no_driver() -> None:
    assert judge(None, NOW, STUCK).state == "gone"


def test_what_is_blocked_longest_is_told() -> None:
    found = judge(report(blocked={"a": NOW - 70, "b": NOW - 90}), NOW, STUCK)
    assert found.reason == "b, for 90 s"


def test_a_restart_is_asked_for_only_where_it_helps() -> None:
    asked = {"gone", "stuck", "starting", "late", "alive", "progressing", "draining"}
    assert asked - GOOD["live"] == {"gone", "stuck"}
    assert asked - GOOD["ready"] == {"gone", "stuck", "starting", "late", "draining"}


def test_of_several_drivers_the_sick_one_is_told() -> None:
    well, sick = Verdict("alive", "x"), Verdict("stuck", "y")
    assert worst([well, sick], "live") == sick
    assert worst([well, well], "live") == well


def test_what_the_cluster_does_not_have_is_said_and_is_no_reason_for_a_restart() -> None:
    short = [["1 CPU, 1 GPU", 2, NOW - 40], ["1 CPU, 1 quantum", 1, NOW - 90]]
    found = judge(report(held=3, short=short), NOW, STUCK)
    assert found.state == "progressing"
    assert found.reason.endswith("; nodes 1 wait for runners with 1 CPU, 1 quantum, for 90 s; and for 1 other kinds")
    assert "wait" not in judge(report(held=3, short=[["1 CPU", 2, NOW - 20]]), NOW, STUCK).reason, "it may yet start"


def test_without_a_runner_it_takes_nothing_and_says_why() -> None:
    found = judge(report(unready="it cannot import shop", held=3), NOW, STUCK)
    assert (found.state, found.answers("live"), found.answers("ready")) == ("starting", True, False)
    assert found.reason == "takes nothing, since no runner is ready: it cannot import shop"
    assert judge(report(unready="x", phase="draining"), NOW, STUCK).state == "draining"


def test_a_full_disk_is_late_and_no_reason_for_a_restart() -> None:
    words = "could not extend file: No space left on device"
    full = {"troubles": {"commit": (NOW - 100, words), "claim": (NOW - 50, words)}}
    found = judge(report(held=1, **full), NOW, STUCK)
    assert (found.state, found.answers("live"), found.answers("ready")) == ("late", True, False)
    assert found.reason == f"commit waits for the database, for 100 s: {words}"
    assert judge(report(troubles={"commit": (NOW - 1, words)}), NOW, STUCK).state == "alive"
