"""What a runner counts, and how it tells Ray; with a real Ray: tests/ray/test_ray_metrics.py."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dray.actors.messages import NodeFailure, NodeResult
from dray.actors.on_ray import metrics
from dray.actors.on_ray.metrics import LABELS, Instruments, Reporter, are_on, tell
from dray.actors.registry import HandlerSpec
from dray.actors.runner.runner import Runner
from dray.actors.runner.tally import BOUNDS, Seen, Tally
from tests.unit.actors.runner.harness import Harness

HTTP = HandlerSpec("http_request", lambda config, ctx: None)
TAGS = {"runner": "r1", "pool": "1 CPU"}


def failure(kind: str) -> NodeFailure:
    return NodeFailure(kind, "text", True)


def test_what_ended_is_counted_by_type_and_outcome_and_taken_once() -> None:
    tally = Tally()
    results = [
        NodeResult(1, output="1", duration_ms=10),
        NodeResult(2, failure=failure("ValueError"), duration_ms=11),
        NodeResult(3, failure=failure("cancelled")),
        NodeResult(4, awaits="{}"),
        NodeResult(5, output="1", wait=5.0, duration_ms=10**9),
    ]
    for each in results:
        tally.add(HTTP, each)
    row = tally.take()["http_request"]
    assert row.outcomes == {"completed": 1, "failed": 1, "cancelled": 1, "waiting": 2}
    assert row.counts == [3, 1, *[0] * (len(BOUNDS) - 2), 1]
    assert row.milliseconds == 10**9 + 21
    assert tally.take() == {}


def test_types_that_nobody_registered_are_one_row() -> None:
    harness = Harness()
    harness.runner = Runner(concurrency=4, max_output_bytes=1000, on_done=harness._arrived.set, counts=True)
    for number in range(20):
        assert harness.run(f"made up {number}").failure is not None
    seen = harness.runner.look()
    assert (seen.running, seen.waiting) == (0, 0)
    assert {name: row.outcomes for name, row in seen.rows.items()} == {"unknown": {"failed": 20}}
    assert harness.runner.look().rows == {}


def test_a_runner_that_nobody_asks_counts_nothing() -> None:
    harness = Harness()
    harness.run("made up")
    assert harness.runner.look() == Seen(0, 0, {})


class Told:
    """Stands for a counter or a gauge of Ray's, which refuses what these refuse."""

    def __init__(self, name: str = "", text: str = "", tags: tuple[str, ...] = ()) -> None:
        self.tags = tags
        self.default: dict[str, str] = {}
        self.values: dict[tuple[str, ...], float] = {}

    def set_default_tags(self, tags: dict[str, str]) -> Told:
        assert tags.keys() <= set(self.tags)
        self.default = tags
        return self

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        key = tuple(tags.values())
        self.values[key] = self.values.get(key, 0) + value

    def set(self, value: float) -> None:
        self.values[()] = value


def instruments() -> Instruments:
    return Instruments(Told(), Told(), Told(), Told(), Told())


def test_a_histogram_is_told_in_counters_that_grow_with_le() -> None:
    tally, to = Tally(), instruments()
    for milliseconds in (20, 20, 700):
        tally.add(HTTP, NodeResult(1, output="1", duration_ms=milliseconds))
    tell(to, Seen(2, 3, tally.take()))
    tally.add(HTTP, NodeResult(1, output="1", duration_ms=700_000))
    tell(to, Seen(1, 0, tally.take()))
    assert (to.running.values, to.waiting.values) == ({(): 1}, {(): 0})
    assert to.nodes.values == {("http_request", "completed"): 4}
    buckets = {le: count for (_, le), count in to.buckets.values.items()}
    assert buckets == {"0.05": 2, "0.25": 2, "1": 3, "5": 3, "30": 3, "120": 3, "600": 3, "+Inf": 4}
    assert set(buckets) <= set(LABELS)
    assert to.seconds.values == {("http_request",): 700.74}


def test_a_reporter_tells_until_ray_fails_and_then_stays_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics, "Counter", Told)
    monkeypatch.setattr(metrics, "Gauge", Told)
    monkeypatch.setattr(metrics, "EVERY", 0.0)
    looks = [Seen(1, 0, {}), Seen(0, 0, {})]

    def look() -> Seen:
        if not looks:
            raise RuntimeError("the agent is gone")
        return looks.pop()

    reporter = Reporter(look, TAGS)
    thread = threading.Thread(target=reporter._work)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive()
    assert [record.getMessage() for record in caplog.records] == [
        "this runner tells Ray no metrics any more: RuntimeError: the agent is gone"
    ]


def test_a_ray_that_has_no_metrics_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: Any) -> None:
        raise ImportError("no metrics in this Ray")

    monkeypatch.setattr(metrics, "Gauge", none)
    Reporter(lambda: Seen(0, 0, {}), TAGS)._work()
    assert "no metrics in this Ray" in caplog.text


@pytest.mark.parametrize(("value", "on"), [(None, True), ("1", True), ("true", True), ("0", False), ("False", False)])
def test_metrics_are_off_where_ray_collects_none(monkeypatch: pytest.MonkeyPatch, value: str | None, on: bool) -> None:
    monkeypatch.delenv(metrics._SWITCH, raising=False)
    if value is not None:
        monkeypatch.setenv(metrics._SWITCH, value)
    assert are_on() is on
