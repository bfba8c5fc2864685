"""What a runner does about a handler that does not end in time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dray.actors.context import NodeContext
from dray.actors.errors import NodeError
from dray.actors.messages import NodeFailure
from dray.actors.registry import handler
from dray.actors.runner import runner as runner_module
from tests.unit.actors.runner.harness import PATIENCE, Harness

SOON = 0.05


@pytest.fixture(autouse=True)
def _long_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stops when told is in time, however slow the machine is."""
    monkeypatch.setattr(runner_module, "GRACE", PATIENCE)
    monkeypatch.setattr(runner_module, "TICK", 0.01)


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch, _long_grace: None) -> None:
    """For handlers that never stop."""
    monkeypatch.setattr(runner_module, "GRACE", 0.2)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Ends what hangs when the test is over."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.usefixtures("short_grace")
def test_a_plain_handler_that_never_returns_is_answered_for(harness: Harness, release: threading.Event) -> None:
    handler("hangs")(lambda config, ctx: release.wait(PATIENCE))
    handler("quick")(lambda config, ctx: 1)
    ids = harness.start("hangs", timeout=SOON, node_key="n7", count=4)  # as many as there are threads
    for result in harness.wait(ids):
        assert result.failure is not None
        assert (result.failure.type, result.failure.retryable) == ("timeout", True)
        text = "did not end within 0.05 s and did not stop when told: it timed out; raise the node's timeout"
        assert text in result.failure.message
        assert result.duration_ms >= 200
    assert harness.retiring == "e1/n7 (hangs) did not end within 0.05 s and did not stop when told"
    assert harness.output("quick") == 1, "its thread was replaced"
    assert harness.retiring is not None, "the runner still asks to be retired"


@pytest.mark.usefixtures("short_grace")
def test_what_it_answers_later_is_dropped(harness: Harness, release: threading.Event) -> None:
    ended = threading.Event()

    @handler("hangs")
    def hangs(config: dict[str, Any], ctx: NodeContext) -> int:
        release.wait(PATIENCE)
        ended.set()
        return 1

    ids = harness.start("hangs", timeout=SOON)
    harness.wait(ids)
    release.set()
    assert ended.wait(PATIENCE)
    handler("quick")(lambda config, ctx: 1)
    harness.wait(harness.start("quick", count=50))  # a second result would be an error of the harness


def test_a_handler_that_stops_when_told_keeps_its_runner(harness: Harness) -> None:
    @handler("listens")
    def listens(config: dict[str, Any], ctx: NodeContext) -> None:
        ctx.cancel.wait(PATIENCE)
        raise RuntimeError("stopped")

    failure = harness.run("listens", timeout=SOON).failure
    text = "did not end within 0.05 s: it timed out; raise the node's timeout, or make it do less"
    assert failure == NodeFailure("timeout", text, True)
    assert harness.retiring is None


def test_what_it_says_of_its_end_is_in_the_timeout(harness: Harness) -> None:
    @handler("explains")
    def explains(config: dict[str, Any], ctx: NodeContext) -> None:
        ctx.cancel.wait(PATIENCE)
        raise NodeError("half of it is done", retryable=False)

    failure = harness.run("explains", timeout=SOON).failure
    assert failure is not None
    assert failure._replace(trace=None) == NodeFailure("timeout", "timed out: half of it is done", False)


def test_an_answer_within_the_grace_counts(harness: Harness) -> None:
    handler("late")(lambda config, ctx: ctx.cancel.wait(PATIENCE) and "done after all")
    assert harness.output("late", timeout=SOON) == "done after all"
    assert harness.retiring is None


def test_the_time_in_line_does_not_count(make_harness: Any, release: threading.Event) -> None:
    harness, started = make_harness(concurrency=1), []
    handler("holds")(lambda config, ctx: release.wait(PATIENCE))
    handler("quick")(lambda config, ctx: started.append(ctx.cancel.is_set()))
    held = harness.start("holds")
    waiting = harness.start("quick", timeout=SOON)
    assert not release.wait(4 * SOON), "it waits in line for longer than it may run"
    release.set()
    assert [each.failure for each in harness.wait(held + waiting)] == [None, None]
    assert started == [False], "its time began with it"


# Async


def test_an_async_handler_is_cancelled_at_its_deadline(harness: Harness) -> None:
    @handler("sleeps")
    async def sleeps(config: dict[str, Any], ctx: NodeContext) -> None:
        await asyncio.sleep(PATIENCE)

    failure = harness.run("sleeps", timeout=SOON).failure
    assert failure is not None and failure.type == "timeout"
    assert harness.retiring is None


@pytest.mark.usefixtures("short_grace")
def test_an_async_handler_that_swallows_its_cancellation_is_answered_for(
    harness: Harness, release: threading.Event
) -> None:
    @handler("stubborn")
    async def stubborn(config: dict[str, Any], ctx: NodeContext) -> None:
        while not release.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    register_next()
    failure = harness.run("stubborn", timeout=SOON).failure
    assert failure is not None and "went on when cancelled" in failure.message
    assert harness.retiring is not None and "(stubborn)" in harness.retiring
    assert harness.output("next") == "same loop", "the loop itself is alive"


@pytest.mark.usefixtures("short_grace")
def test_a_handler_that_blocks_the_loop_is_the_only_one_to_blame(harness: Harness, release: threading.Event) -> None:
    begun = threading.Event()

    @handler("waits")
    async def waits(config: dict[str, Any], ctx: NodeContext) -> None:
        begun.set()
        await asyncio.sleep(PATIENCE)

    handler("blocks")(_blocks(release))
    register_next()
    innocent = harness.start("waits", count=2)
    assert begun.wait(PATIENCE)
    blocked = harness.start("blocks", timeout=SOON)
    waiting = harness.start("next", count=9)  # more than may run at once
    failure = harness.wait(blocked)[0].failure
    assert failure is not None and failure.type == "timeout"
    assert "without ever yielding to the event loop" in failure.message
    back = harness.wait(innocent)
    assert ["blocks the event loop" in (each.given_back or "") for each in back] == [True, True]
    assert [each.failure for each in back] == [None, None]
    assert all(each.output for each in harness.wait(waiting)), "those that had not begun went to a new loop"
    assert harness.retiring is not None and "(blocks) blocks the event loop" in harness.retiring


@pytest.mark.usefixtures("short_grace")
def test_who_is_late_because_of_another_is_not_to_blame(harness: Harness, release: threading.Event) -> None:
    begun = threading.Event()

    @handler("yields")
    async def yields(config: dict[str, Any], ctx: NodeContext) -> None:
        begun.set()
        await asyncio.sleep(PATIENCE)

    handler("blocks")(_blocks(release))
    late = harness.start("yields", timeout=2.0)  # time enough for the other one to begin
    assert begun.wait(PATIENCE)
    blocking = harness.start("blocks", timeout=PATIENCE)
    assert "(blocks) blocks the event loop" in (harness.wait(late)[0].given_back or "")
    release.set()
    assert harness.wait(blocking)[0].output == "null", "it was within its own time"


def test_a_spinning_handler_does_not_keep_results_back(harness: Harness, release: threading.Event) -> None:
    @handler("spins")
    def spins(config: dict[str, Any], ctx: NodeContext) -> None:
        until = time.monotonic() + PATIENCE
        while not release.is_set() and time.monotonic() < until:
            pass

    handler("quick")(lambda config, ctx: 1)
    harness.start("spins")
    harness.wait(harness.start("quick", count=10))


def register_next() -> None:
    loops = set()

    @handler("next")
    async def next_one(config: dict[str, Any], ctx: NodeContext) -> str:
        loops.add(asyncio.get_running_loop())
        return "same loop" if len(loops) == 1 else "another loop"


def _blocks(release: threading.Event) -> Any:
    async def blocks(config: dict[str, Any], ctx: NodeContext) -> None:
        release.wait(PATIENCE)

    return blocks
