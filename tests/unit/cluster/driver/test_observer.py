"""What a driver tells about itself is small, holds no value of an execution, and has bounded labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from dray.actors.messages import NodeFailure, NodeResult
from dray.actors.registry import load_handlers
from dray.cluster.driver.observer import BUCKETS, Observer, Spread
from dray.cluster.health.metrics import KEEP, Metrics
from dray.store.errors import Unavailable

load_handlers()


def metrics(observer: Observer, queues: Any = list, slots: int = 8) -> Metrics:
    return Metrics(observer, queues, lambda: 3, slots)


def value(text: bytes, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


def test_nodes_are_counted_by_type_and_outcome() -> None:
    seen = Observer()
    seen.collected("http_request", NodeResult(1, output="1", duration_ms=20))
    seen.collected("http_request", NodeResult(2, failure=NodeFailure("x", "y", True), duration_ms=2000))
    text = metrics(seen).text()
    assert value(text, "dray_nodes_finished_total", type="http_request", outcome="completed") == 1
    assert value(text, "dray_nodes_finished_total", type="http_request", outcome="failed") == 1
    assert value(text, "dray_node_duration_seconds_bucket", type="http_request", le="0.025") == 1
    assert value(text, "dray_node_duration_seconds_bucket", type="http_request", le="+Inf") == 2
    assert value(text, "dray_node_duration_seconds_sum", type="http_request") == 2.02


def test_types_that_nobody_registered_are_one_label() -> None:
    seen = Observer()
    for number in range(50):
        seen.collected(f"made up {number}", NodeResult(number, output="1"))
    assert dict(seen.nodes) == {("unknown", "completed"): 50}
    assert list(seen.durations) == ["unknown"]


def test_the_page_names_every_metric() -> None:
    page = (Path(__file__).parents[4] / "docs" / "deploy" / "monitoring.md").read_text()
    ours = {
        each.name + ("_total" if each.type == "counter" else "")
        for each in metrics(Observer()).collect()
        if each.name.startswith("dray_")
    }
    assert len(ours) > 20
    assert [name for name in sorted(ours) if f"`{name}`" not in page] == []


def test_the_database_is_asked_once_however_many_scrape() -> None:
    asked = []

    def queues() -> list[tuple[str, dict[str, int], float]]:
        asked.append(1)
        return [("default", {"queued": 5, "running": 2}, 12.0)]

    found = metrics(Observer(), queues)
    assert KEEP > 1
    texts = [found.text() for _ in range(5)]
    assert len(asked) == 1
    assert value(texts[4], "dray_executions", queue="default", status="queued") == 5
    assert value(texts[4], "dray_oldest_queued_seconds", queue="default") == 12


def test_metrics_answer_while_the_database_is_away() -> None:
    def queues() -> Any:
        raise Unavailable("connection refused")

    text = metrics(Observer(), queues).text()
    assert value(text, "dray_database_up") == 0
    assert value(text, "dray_claims_total") == 0


def test_a_time_falls_into_its_bucket() -> None:
    times = Spread()
    for seconds in (0.0, BUCKETS[0], BUCKETS[-1], BUCKETS[-1] + 1):
        times.add(seconds)
    assert (times.counts[0], times.counts[-2], times.counts[-1]) == (2, 1, 1)


def test_commits_are_counted_by_size_and_time() -> None:
    seen = Observer()
    seen.wrote(3, 0.002)
    seen.wrote(40, 0.002)
    text = metrics(seen).text()
    assert value(text, "dray_commit_outcomes_bucket", le="5.0") == 1
    assert value(text, "dray_commit_outcomes_count") == value(text, "dray_commit_seconds_count") == 2
    assert value(text, "dray_commit_outcomes_sum") == 43


def test_what_is_blocked_counts_from_the_last_progress() -> None:
    seen = Observer()
    seen._note("x", True, 10.0, 1)
    seen._note("x", True, 20.0, 1)
    assert seen._marks["x"][0] == 10.0
    seen._note("x", True, 30.0, 2)
    assert seen._marks["x"][0] == 30.0
    seen._note("x", False, 40.0, 2)
    assert seen._marks == {}


def test_a_report_is_json_before_anything_is_driven() -> None:
    assert json.loads(json.dumps(Observer().report()))["phase"] == "starting"
