"""Failpoints act once, at the hit they name, and cost nothing otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dray.cluster import failpoints

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.configure("")


def test_an_unarmed_place_does_nothing() -> None:
    failpoints.configure("after_claim:raise")
    failpoints.hit("after_load")


def test_raise_acts_at_its_hit_and_never_again() -> None:
    failpoints.configure("after_claim@3:raise")
    failpoints.hit("after_claim")
    failpoints.hit("after_claim")
    with pytest.raises(RuntimeError, match="failpoint after_claim"):
        failpoints.hit("after_claim")
    failpoints.hit("after_claim")


def test_several_places_are_armed_at_once() -> None:
    failpoints.configure("after_claim:raise, before_commit:raise")
    for name in ("after_claim", "before_commit"):
        with pytest.raises(RuntimeError, match=name):
            failpoints.hit(name)


@pytest.mark.parametrize("text", ["after_claim", "after_lunch:kill", "after_claim@0:kill", "after_claim:explode"])
def test_what_cannot_be_read_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no failpoint: write"):
        failpoints.configure(text)


def test_a_place_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        failpoints.configure("after_claim:kill,after_claim@2:raise")


@pytest.mark.parametrize("name", failpoints.NAMES)
def test_kill_is_sigkill_at_that_place(name: str) -> None:
    script = f"from dray.cluster import failpoints as f; f.configure('{name}:kill'); f.hit('{name}'); print('alive')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == ""


def test_pause_stops_the_process_until_it_is_continued() -> None:
    script = (
        "from dray.cluster import failpoints as f; f.configure('after_plan:pause'); f.hit('after_plan'); print('on')"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=60)[0] == "on\n"
    finally:
        process.kill()
        process.wait()
