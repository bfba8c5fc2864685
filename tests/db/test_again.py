"""Retry and rerun: a new execution that goes on from what an earlier one has recorded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client, Execution
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused, ExecutionUnfit
from dray.store.records import Kind
from tests.chaos.effects import EFFECTS, read_effects
from tests.db.helpers import QUEUES, claimed, end, outcome, register, submitted
from tests.db.test_driver import HANDLERS, driving, effect
from tests.db.test_loops import edge, variable
from tests.pg import Sql


@pytest.fixture(autouse=True)
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How often each node's effect took place, of one execution."""
    path = tmp_path / "effects.jsonl"
    monkeypatch.setenv(EFFECTS, str(path))

    def count(execution: str) -> dict[str, int]:
        keys = [each.key.partition("/") for each in read_effects(path)] if path.exists() else []
        return dict(Counter(rest for found, _, rest in keys if found == execution))

    return count


def fails_unless(path: Path, node_id: str = "risky", **rest: Any) -> dict[str, Any]:
    """A node that fails for good until somebody makes the file."""
    code = f"import os\nif not os.path.exists({str(path)!r}):\n    raise ValueError('no file')\nresult = 'mended'"
    return {"id": node_id, "type": "code", "config": {"code": code}, "max_retries": 0, **rest}


def apply(client: Client, nodes: list[Any], edges: list[Any]) -> None:
    client.apply_workflow("w", canonical({"nodes": nodes, "edges": edges}, HANDLERS))


def run(store: DriverStore, client: Client, execution: str) -> Execution:
    with driving(store):
        return client.wait(execution, 60)


def test_what_failed_is_retried_and_nothing_before_it_runs_again(
    store: DriverStore, client: Client, tmp_path: Path, ran: Any
) -> None:
    mended = tmp_path / "mended"
    apply(
        client,
        [effect("first", 0.0), fails_unless(mended), effect("last", 0.0)],
        [edge("first risky"), edge("risky last")],
    )
    failed = client.submit("w", {"n": 1}, labels={"customer": "17"}, queue="default", priority=7)
    assert run(store, client, failed).status == "failed"
    mended.touch()
    again = client.retry(failed)
    assert again != failed
    found = run(store, client, again)
    assert (found.status, found.input, found.labels, found.priority) == ("completed", {"n": 1}, {"customer": "17"}, 7)
    assert (found.source_id, client.get(failed).source_id) == (failed, None)
    assert ran(failed) == {"first": 1}
    assert ran(again) == {"last": 1}
    assert [each.node_key for each in client.attempts(again)] == ["first", "risky", "last"]
    assert client.get(failed).status == "failed"


def test_a_failure_that_was_caught_stays_caught(store: DriverStore, client: Client, tmp_path: Path, ran: Any) -> None:
    """Both fail with the same words; only the second one ended the execution."""
    mended = tmp_path / "mended"
    nodes = [fails_unless(mended, "caught"), effect("repair", 0.0), fails_unless(mended), effect("last", 0.0)]
    edges = [edge("caught repair", "failed"), edge("repair risky"), edge("risky last")]
    apply(client, nodes, edges)
    failed = client.submit("w")
    assert run(store, client, failed).status == "failed"
    mended.touch()
    again = client.retry(failed)
    assert run(store, client, again).status == "completed"
    kinds = {(each.node_key, each.kind) for each in client.attempts(again)}
    assert kinds == {("caught", "failed"), ("repair", "completed"), ("risky", "completed"), ("last", "completed")}
    assert ran(again) == {"last": 1}


def test_a_failure_that_a_finally_passed_on_begins_anew(
    store: DriverStore, client: Client, tmp_path: Path, ran: Any
) -> None:
    mended = tmp_path / "mended"
    nodes = [{"id": "t", "type": "try"}, effect("first", 0.0), fails_unless(mended), {"id": "f", "type": "finally"}]
    apply(
        client, [*nodes, effect("last", 0.0)], [edge("t first"), edge("first risky"), edge("risky f"), edge("f last")]
    )
    failed = client.submit("w")
    assert run(store, client, failed).status == "failed"
    mended.touch()
    again = client.retry(failed)
    found = run(store, client, again)
    assert found.error is None
    assert ran(again) == {"last": 1}


def test_a_turn_that_failed_is_retried_and_the_turns_before_it_stand(
    store: DriverStore, client: Client, tmp_path: Path, ran: Any
) -> None:
    mended = tmp_path / "mended"
    code = f"import os\nif not os.path.exists({str(mended)!r}):\n    raise ValueError('no')\nresult = 1"
    nodes = [
        {"id": "L", "type": "for", "config": {"items": "input.rows", "loop_variable": "row"}},
        effect("work", 0.0),
        {"id": "third", "type": "condition", "config": {"condition": "row == 3"}},
        {"id": "risky", "type": "code", "config": {"code": code}, "max_retries": 0},
        variable("fine", "x", 1),
        effect("last", 0.0),
    ]
    edges = [edge("L work", "body"), edge("work third"), edge("third risky", "true"), edge("third fine", "false")]
    apply(client, nodes, [*edges, edge("risky L"), edge("fine L"), edge("L last", "done")])
    failed = client.submit("w", {"rows": [1, 2, 3, 4]})
    assert run(store, client, failed).status == "failed"
    mended.touch()
    again = client.retry(failed)
    found = run(store, client, again)
    assert found.error is None
    assert ran(failed) == {"L[0]/work": 1, "L[1]/work": 1, "L[2]/work": 1}
    assert ran(again) == {"L[3]/work": 1, "last": 1}


def test_failures_that_a_loop_collected_stay_with_it(store: DriverStore, client: Client, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    each = {"items": "input.rows", "on_error": "collect"}
    nodes = [{"id": "L", "type": "foreach", "config": each}, fails_unless(mended, "item"), fails_unless(mended)]
    apply(client, nodes, [edge("L item", "body"), edge("item L"), edge("L risky", "done")])
    failed = client.submit("w", {"rows": [1, 2]})
    assert run(store, client, failed).status == "failed"
    mended.touch()
    again = client.retry(failed)
    assert run(store, client, again).error is None
    kinds = {each.node_key: each.kind for each in client.attempts(again)}
    assert kinds == {
        "L[]": "completed", "L[0]/item": "failed", "L[1]/item": "failed", "L": "completed", "risky": "completed",
    }  # fmt: skip


def test_too_few_branches_are_all_tried_again(store: DriverStore, client: Client, tmp_path: Path, ran: Any) -> None:
    mended = tmp_path / "mended"
    fork = {"id": "fork", "type": "trigger", "config": {"execution_mode": "parallel", "parallel_wait_mode": "any"}}
    nodes = [fork, fails_unless(mended, "a"), fails_unless(mended, "b"), {"id": "join", "type": "merge"}]
    apply(client, nodes, [edge("fork a"), edge("fork b"), edge("a join"), edge("b join")])
    failed = client.submit("w")
    assert (run(store, client, failed).error or {}).get("type") == "parallel_failed"
    mended.touch()
    assert run(store, client, client.retry(failed)).error is None


def test_a_cancelled_one_goes_on_and_its_timer_that_was_not_over_begins_anew(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    incarnation, (claim,) = claimed(store, client)
    outcomes = [outcome(claim.id), outcome(claim.id, "past", kind=Kind.WAITS_FOR_TIME, wait=-5.0)]
    outcomes += [
        outcome(claim.id, "ahead", kind=Kind.WAITS_FOR_TIME, wait=500.0),
        outcome(claim.id, "x", kind=Kind.RETRIED, wait=-1.0),
    ]
    outcomes += [outcome(claim.id, "y", kind=Kind.RUNNER_LOST), outcome(claim.id, "z", attempt=0, kind=Kind.STARTED)]
    store.commit(
        incarnation, [*outcomes, outcome(claim.id, "g", kind=Kind.WAITS_FOR_NEWS)], [end(claim.id, "cancelled")]
    )
    again = client.retry(claim.id)
    assert {each.node_key for each in client.attempts(again)} == {"a", "past"}
    (found,) = store.claim(register(store), QUEUES, 9)
    assert (found.id, found.claim_count) == (again, 2)


def test_what_is_not_in_a_state_for_it_is_refused(store: DriverStore, client: Client) -> None:
    (queued,) = submitted(client)
    for call in (client.retry, lambda each: client.rerun(each, "a")):
        with pytest.raises(ExecutionUnfit, match="is queued"):
            call(queued)
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 1)
    store.commit(incarnation, [], [end(queued)])
    with pytest.raises(ExecutionUnfit, match=r"is completed: .* dray rerun"):
        client.retry(queued)


def test_a_retry_passes_its_limits_anew(store: DriverStore, client: Client, sql: Sql) -> None:
    client.apply_workflow("w", {"format": 1, "nodes": [{"id": "a"}], "edges": [], "limits": {"concurrency": 1}})
    first, second = client.submit("w", tenant="acme"), client.submit("w")
    incarnation = register(store)
    assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [first]
    store.commit(incarnation, [], [end(first, "failed")])
    again = client.retry(first)
    assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [second]
    assert sql("SELECT tenant, stage FROM dray.execution WHERE id = %(id)s::uuid", id=again) == [("acme", "w")]
    store.commit(incarnation, [], [end(second)])
    assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [again]


# Rerun


def test_a_rerun_from_the_middle(store: DriverStore, client: Client, ran: Any) -> None:
    nodes = [effect(each, 0.0) for each in ("a", "b", "beside", "c")]
    apply(client, nodes, [edge("a b"), edge("a beside"), edge("b c"), edge("beside c")])
    first = client.submit("w")
    assert run(store, client, first).status == "completed"
    again = client.rerun(first, "b")
    assert run(store, client, again).status == "completed"
    assert ran(again) == {"b": 1, "c": 1}
    assert client.get(again).source_id == first


def test_a_rerun_with_another_input(store: DriverStore, client: Client) -> None:
    nodes = [{"id": "t", "type": "trigger"}, variable("x", "x", "{{ nodes.t.output.n + input.n }}")]
    apply(client, nodes, [edge("t x")])
    first = client.submit("w", {"n": 1})
    assert run(store, client, first).output["value"] == 2
    found = run(store, client, client.rerun(first, "x", {"n": 5}))
    assert (found.input, found.output["value"]) == ({"n": 5}, 10)
    assert run(store, client, client.rerun(found.id, "x")).output["value"] == 10


@pytest.mark.parametrize("from_node", ["L", "I", "work", "fine"])
def test_a_rerun_from_inside_a_loop_begins_with_the_outermost_one(
    store: DriverStore, client: Client, ran: Any, from_node: str
) -> None:
    nodes = [
        effect("before", 0.0),
        {"id": "L", "type": "for", "config": {"items": "input.rows"}},
        {"id": "I", "type": "foreach", "config": {"items": "input.rows"}},
        effect("work", 0.0),
        variable("fine", "x", 1),
        effect("last", 0.0),
        effect("beside", 0.0),
    ]
    edges = [edge("before L"), edge("L I", "body"), edge("I work", "body"), edge("work I"), edge("I fine", "done")]
    apply(client, nodes, [*edges, edge("fine L"), edge("L last", "done"), edge("before beside")])
    first = client.submit("w", {"rows": [1, 2]})
    assert run(store, client, first).error is None
    again = client.rerun(first, from_node)
    assert {each.node_key for each in client.attempts(again)} == {"before", "beside"}
    assert run(store, client, again).error is None
    work = {f"L[{turn}]/I[{item}]/work": 1 for turn in (0, 1) for item in (0, 1)}
    assert ran(again) == {**work, "last": 1}


def test_a_rerun_from_a_cycle_and_from_behind_it(store: DriverStore, client: Client) -> None:
    nodes = [
        variable("poll", "n", "{{ has(vars.n) ? vars.n + 1 : 1 }}"),
        {"id": "ready", "type": "condition", "config": {"condition": "nodes.poll.output.value >= 2"}},
        variable("pause", "x", 1),
        {"id": "after", "type": "get_variable", "config": {"variable_name": "n"}},
    ]
    edges = [edge("poll ready"), edge("ready after", "true"), edge("ready pause", "false"), edge("pause poll")]
    apply(client, nodes, edges)
    first = client.submit("w")
    assert run(store, client, first).output["value"] == 2
    behind = client.rerun(first, "after")
    assert {each.node_key for each in client.attempts(behind)} >= {"poll[0]/poll", "poll[1]/ready"}
    assert run(store, client, behind).output["value"] == 2
    inside = client.rerun(first, "pause")
    assert client.attempts(inside) == []
    assert run(store, client, inside).output["value"] == 2


def test_a_node_that_is_not_there_is_named(store: DriverStore, client: Client) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [outcome(claim.id)], [end(claim.id)])
    with pytest.raises(DataRefused, match='no node "nobody" in version 1 of workflow "w"'):
        client.rerun(claim.id, "nobody")
    again = client.rerun(claim.id, "b")
    assert [each.node_key for each in client.attempts(again)] == ["a"]


@pytest.mark.parametrize(
    ("key", "node"), [("a", "a"), ("L[3]/a", "a"), ("L[]", "L"), ("L[2]", "L"), ("L", "L"), ("x[1]/H[0]/H", "H")]
)
def test_the_node_of_a_key(sql: Sql, key: str, node: str) -> None:
    assert sql("SELECT dray.node_of(%(key)s)", key=key) == [(node,)]


def test_bulk_retries_what_failed_and_each_goes_on(
    store: DriverStore, client: Client, tmp_path: Path, ran: Any
) -> None:
    mended = tmp_path / "mended"
    apply(client, [effect("first", 0.0), fails_unless(mended)], [edge("first risky")])
    failed = client.submit_many("w", [{}] * 3)
    with driving(store):
        for each in failed:
            assert client.wait(each, 60).status == "failed"
        mended.touch()
        assert client.bulk("retry", workflow="w", status=["failed"]).done == 3
        again = [each.id for each in client.list(limit=3)]
        for each in again:
            assert client.wait(each, 60).status == "completed"
    assert [ran(each) for each in (*failed, *again)] == [{"first": 1}] * 3 + [{}] * 3
