"""Retry and rerun in the latest version of a workflow: what has run must stand there as it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused, ExecutionUnfit
from tests.db.test_again import apply, fails_unless, ran, run
from tests.db.test_driver import HANDLERS, effect
from tests.db.test_loops import edge, variable
from tests.pg import Sql

__all__ = ["ran"]  # a fixture

LOOP = [
    {"id": "L", "type": "for", "config": {"items": "input.rows", "loop_variable": "row"}},
    effect("work", 0.0),
    {"id": "third", "type": "condition", "config": {"condition": "row == 3"}},
    variable("fine", "x", 1),
]
LOOP_EDGES = [edge("L work", "body"), edge("work third"), edge("third risky", "true"), edge("third fine", "false")]
LOOP_EDGES += [edge("risky L"), edge("fine L"), edge("L last", "done")]


def code(text: str, node_id: str = "risky") -> dict[str, Any]:
    return {"id": node_id, "type": "code", "config": {"code": text}, "max_retries": 0}


BROKEN, MENDED = code("raise ValueError('broken')"), code("result = 1")


def failed(store: DriverStore, client: Client, nodes: list[Any], edges: list[Any], given: Any = None) -> str:
    apply(client, nodes, edges)
    execution = client.submit("w", given or {})
    assert run(store, client, execution).status == "failed"
    return execution


def test_what_failed_by_its_graph_goes_on_in_a_mended_one(store: DriverStore, client: Client, ran: Any) -> None:
    edges = [edge("first risky"), edge("risky last")]
    first = failed(store, client, [effect("first", 0.0), BROKEN, effect("last", 0.0)], edges, {"n": 1})
    nodes = [effect("first", 0.0), effect("new", 0.0), MENDED, effect("last", 0.0)]
    apply(client, nodes, [edge("first new"), edge("new risky"), edge("risky last")])
    found = run(store, client, client.retry(first))
    assert (found.status, found.version) == ("failed", 1)
    found = run(store, client, client.retry(first, latest=True))
    assert (found.error, found.version, found.input, found.source_id) == (None, 2, {"n": 1}, first)
    assert (ran(first), ran(found.id)) == ({"first": 1}, {"new": 1, "last": 1})


def test_a_turn_that_failed_goes_on_in_a_mended_loop(store: DriverStore, client: Client, ran: Any) -> None:
    first = failed(store, client, [*LOOP, BROKEN, effect("last", 0.0)], LOOP_EDGES, {"rows": [1, 2, 3, 4]})
    apply(client, [*LOOP, MENDED, effect("last", 0.0)], LOOP_EDGES)
    found = run(store, client, client.retry(first, latest=True))
    assert (found.error, found.version) == (None, 2)
    assert ran(found.id) == {"L[3]/work": 1, "last": 1}


def test_a_rerun_from_a_node_that_only_the_latest_has(store: DriverStore, client: Client, ran: Any) -> None:
    apply(client, [effect("a", 0.0), effect("b", 0.0)], [edge("a b")])
    first = client.submit("w")
    assert run(store, client, first).error is None
    apply(client, [effect("a", 0.0), effect("new", 0.0), effect("b", 0.0)], [edge("a new"), edge("new b")])
    with pytest.raises(DataRefused, match='no node "new" in version 1'):
        client.rerun(first, "new")
    with pytest.raises(DataRefused, match='no node "nobody" in version 2'):
        client.rerun(first, "nobody", latest=True)
    again = client.rerun(first, "new", latest=True)
    assert run(store, client, again).error is None
    assert ran(again) == {"new": 1, "b": 1}


def test_a_rerun_from_a_node_that_only_the_earlier_one_has(store: DriverStore, client: Client, ran: Any) -> None:
    apply(client, [effect("a", 0.0), effect("old", 0.0), effect("b", 0.0)], [edge("a old"), edge("old b")])
    first = client.submit("w")
    assert run(store, client, first).error is None
    apply(client, [effect("a", 0.0), effect("b", 0.0)], [edge("a b")])
    again = client.rerun(first, "old", latest=True)
    assert run(store, client, again).error is None
    assert ran(again) == {"b": 1}


@pytest.mark.parametrize(
    ("nodes", "edges", "named"),
    [
        ([BROKEN], [], "first"),  # gone
        ([variable("first", "x", 1), BROKEN], ["first risky"], "first"),  # another type
        (
            [effect("new", 0.0), effect("first", 0.0), BROKEN],
            ["new first", "first risky"],
            "first",
        ),  # another edge
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_makes_nothing(
    store: DriverStore, client: Client, sql: Sql, nodes: list[Any], edges: list[str], named: str
) -> None:
    first = failed(store, client, [effect("first", 0.0), BROKEN], [edge("first risky")])
    apply(client, nodes, [edge(each) for each in edges])
    with pytest.raises(ExecutionUnfit, match=rf'in version 2 of workflow "w": .*: {named}$'):
        client.retry(first, latest=True)
    assert sql("SELECT count(*) FROM dray.execution") == [(1,)]
    assert sql("SELECT count(*) FROM dray.execution_input") == [(1,)]


def graph(nodes: list[Any], edges: list[Any]) -> dict[str, Any]:
    return canonical({"nodes": nodes, "edges": edges}, HANDLERS)


def moved(sql: Sql, before: Any, after: Any, kept: list[str]) -> list[str]:
    ((found,),) = sql(
        "SELECT dray.moved_nodes(%(before)s::jsonb, %(after)s::jsonb, %(kept)s::text[])",
        before=json.dumps(before), after=json.dumps(after), kept=kept,
    )  # fmt: skip
    return found or []


def test_what_follows_may_change_and_what_leads_there_may_not(sql: Sql) -> None:
    chain = [variable(each, "x", 1) for each in "abcd"]
    before = graph(chain, [edge("a b"), edge("b c"), edge("c d")])
    after = graph(chain, [edge("a b"), edge("b d"), edge("d c")])
    assert moved(sql, before, after, ["a", "b"]) == []
    assert moved(sql, before, after, ["a", "b", "c"]) == ["c"]
    # Not the one that ran, but one before it: it would run now, and what has run would come after it.
    side = graph(chain, [edge("a c"), edge("b c"), edge("c d")])
    longer = graph([*chain, variable("new", "x", 1)], [edge("a c"), edge("new b"), edge("b c"), edge("c d")])
    assert moved(sql, side, longer, ["a", "c"]) == ["b"]
    assert moved(sql, before, before, ["a", "b", "c", "d"]) == []


def test_of_a_loop_that_has_begun_only_configs_may_change(sql: Sql) -> None:
    before = graph([*LOOP, BROKEN, effect("last", 0.0)], LOOP_EDGES)
    assert moved(sql, before, graph([*LOOP, MENDED, effect("last", 0.0)], LOOP_EDGES), ["L", "work"]) == []
    leaves = [variable("risky", "x", 1) if each is BROKEN else each for each in [*LOOP, BROKEN, effect("last", 0.0)]]
    assert moved(sql, before, graph(leaves, LOOP_EDGES), ["last"]) == ["risky"]
    ends = {"id": "stop", "type": "break"}
    breaks = graph([*LOOP, BROKEN, ends, effect("last", 0.0)], [*LOOP_EDGES, edge("work stop", "failed")])
    assert moved(sql, before, breaks, ["L", "work"]) == ["L"]
    outside = graph([*LOOP, BROKEN, effect("last", 0.0), effect("more", 0.0)], [*LOOP_EDGES, edge("last more")])
    assert moved(sql, before, outside, ["L", "work", "last"]) == []


def test_a_loop_that_collected_failures_must_still_do_so(sql: Sql) -> None:
    def loop(on_error: str) -> dict[str, Any]:
        each = {"id": "L", "type": "foreach", "config": {"items": "input.rows", "on_error": on_error}}
        return graph([each, BROKEN], [edge("L risky", "body"), edge("risky L")])

    assert moved(sql, loop("collect"), loop("fail"), ["L", "risky"]) == ["L"]


def test_a_fork_that_waits_for_others_is_another_one(sql: Sql) -> None:
    def fork(wait: str) -> dict[str, Any]:
        config = {"execution_mode": "parallel", "parallel_wait_mode": wait}
        nodes = [{"id": "fork", "type": "trigger", "config": config}, variable("a", "x", 1), variable("b", "x", 1)]
        edges = [edge("fork a"), edge("fork b"), edge("a join"), edge("b join")]
        return graph([*nodes, {"id": "join", "type": "merge"}], edges)

    assert moved(sql, fork("any"), fork("any"), ["fork", "a", "join"]) == []
    assert moved(sql, fork("any"), fork("all"), ["fork", "a", "join"]) == ["fork"]


def test_bulk_retries_in_the_latest_what_fits_in_it(store: DriverStore, client: Client, sql: Sql) -> None:
    apply(client, [variable("first", "x", 1), BROKEN], [edge("first risky")])
    fits = client.submit("w")
    run(store, client, fits)
    apply(client, [variable("other", "x", 1), BROKEN], [edge("other risky")])
    run(store, client, client.submit("w"))
    apply(client, [variable("first", "x", 1), MENDED], [edge("first risky")])
    found = client.bulk("retry", workflow="w", latest=True)
    assert (found.matched, found.done) == (2, 1)
    (again,) = (each for each in client.list() if each.source_id is not None)
    assert (again.source_id, again.version) == (fits, 3)
    assert run(store, client, again.id).error is None


def test_the_latest_is_the_own_version_where_there_is_no_later_one(
    store: DriverStore, client: Client, tmp_path: Path, ran: Any
) -> None:
    mended = tmp_path / "mended"
    first = failed(store, client, [effect("first", 0.0), fails_unless(mended)], [edge("first risky")])
    mended.touch()
    found = run(store, client, client.retry(first, latest=True))
    assert (found.error, found.version) == (None, 1)
    assert ran(found.id) == {}
