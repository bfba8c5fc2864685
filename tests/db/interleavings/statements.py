"""The short list of statements that meet, and the few rows on which they do.

running   held by driver `one`, its node `wait` waits for the signal `go`, which is there
parked    waits for the signal `go`, which is not there
due       waits for a timer that is over
queued    waits for a driver
dead      held by driver `gone`, whose lease ran out
child     of `running`, queued
narrow    two queued executions of a workflow of which one may run at once; small: two in a queue with room for one
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from dray.store.client.client import Client
from dray.store.driver_store import claim_parameters, commit_parameters
from dray.store.queries import QUERIES
from dray.store.records import Kind, Outcome, Settlement, Taken
from tests.db.interleavings.stepping import Transaction

ONE, TWO, GONE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
NODES = [{"id": "a", "type": "trigger"}, {"id": "wait", "type": "wait_for_signal"}]
GRAPH = {"format": 1, "nodes": NODES, "edges": []}
NARROW = {**GRAPH, "limits": {"concurrency": 1}}
TO_SIGNAL = ("running", "parked", "queued", "dead")
ALL = ("running", "parked", "due", "queued", "dead")

SET_UP = """
    DELETE FROM dray.execution; DELETE FROM dray.execution_input; DELETE FROM dray.checkpoint; DELETE FROM dray.signal;
    DELETE FROM dray.driver; DELETE FROM dray.pending_mark; DELETE FROM dray.gate_change; DELETE FROM dray.queue;
    DELETE FROM dray.queue_start; DELETE FROM public.transition;
    INSERT INTO dray.queue (name, concurrency) VALUES ('small', 1);
    INSERT INTO dray.driver (id, lease_until, pid, host) VALUES
        (%(one)s, now() + interval '1 hour', 1, 'x'), (%(two)s, now() + interval '1 hour', 2, 'x'),
        (%(gone)s, now() - interval '1 minute', 3, 'x');
    INSERT INTO dray.execution (id, workflow_id, status, owner, claim_count, started_at, wake_at, wake)
    SELECT i, (SELECT id FROM dray.workflow WHERE name = 'plain'), s, o, c, CASE WHEN c > 0 THEN now() END, w,
        s = 'running'
    FROM (VALUES
        (%(running)s::uuid, 'running', %(one)s::uuid, 1, NULL),
        (%(parked)s::uuid, 'waiting', NULL, 1, NULL),
        (%(due)s::uuid, 'waiting', NULL, 1, now() - interval '1 second'),
        (%(queued)s::uuid, 'queued', NULL, 0, NULL),
        (%(dead)s::uuid, 'running', %(gone)s::uuid, 1, NULL)) AS v (i, s, o, c, w);
    INSERT INTO dray.execution (id, workflow_id, parent_id, depth)
    SELECT %(child)s::uuid, id, %(running)s::uuid, 1 FROM dray.workflow WHERE name = 'plain';
    INSERT INTO dray.execution_input (execution_id, input) SELECT id, '{}' FROM dray.execution;
    INSERT INTO dray.checkpoint (execution_id, at, attempt, kind, node_key, wake_at, outcome) VALUES
        (%(running)s, now(), 1, 'c', 'a', NULL, NULL), (%(running)s, now(), 1, 'g', 'wait', NULL, '{"signal": "go"}'),
        (%(running)s, now(), 1, 'g', 'call', NULL, %(call)s::jsonb),
        (%(parked)s, now(), 1, 'c', 'a', NULL, NULL), (%(parked)s, now(), 1, 'g', 'wait', NULL, '{"signal": "go"}'),
        (%(due)s, now(), 1, 'c', 'a', NULL, NULL), (%(due)s, now(), 1, 'w', 'wait', now() - interval '1 second', '1'),
        (%(dead)s, now(), 1, 'c', 'a', NULL, NULL);
    INSERT INTO dray.signal (execution_id, name) VALUES (%(running)s, 'go');
    SELECT dray.submit(n, '{}', queue => q) FROM (VALUES ('narrow', 'default'), ('narrow', 'default'),
        ('plain', 'small'), ('plain', 'small')) v (n, q);
"""


def set_up(cursor: Any) -> dict[str, str]:
    """Fresh rows; gives name -> id."""
    names = ("running", "parked", "due", "queued", "dead", "child")
    cursor.execute("SELECT dray.uuid7()::text FROM generate_series(1, %s)", (len(names),))
    ids = dict(zip(names, sorted(row[0] for row in cursor.fetchall()), strict=True))
    given = {**ids, "one": ONE, "two": TWO, "gone": GONE, "call": json.dumps({"child": ids["child"]})}
    cursor.execute(SET_UP, given)
    cursor.execute("SELECT min(id) FROM dray.signal")
    return {**ids, "signal": cursor.fetchone()[0]}


def apply(client: Client) -> None:
    client.apply_workflow("plain", GRAPH)
    client.apply_workflow("narrow", NARROW)


def _each(call: str, *names: str) -> Callable[[dict[str, str]], tuple[str, Any]]:
    """One statement for several executions, in the order of their ids."""
    return lambda ids: (
        f"SELECT dray.{call} FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS u (id, n) ORDER BY n",
        {"ids": [ids[each] for each in names]},
    )


def _query(name: str, **given: Any) -> Callable[[dict[str, str]], tuple[str, Any]]:
    return lambda ids: (QUERIES[name], given)


def _commit(
    status: str, *outcomes: tuple[str, int, Kind, str | None], takes: bool = False
) -> Callable[[dict[str, Any]], tuple[str, Any]]:
    """Of driver `one`, which gives `running` back so."""

    def made(ids: dict[str, Any]) -> tuple[str, Any]:
        found = [Outcome(ids["running"], key, n, kind, None, text, None, None, None) for key, n, kind, text in outcomes]
        taken = [Taken(ids["signal"], "wait")] if takes else []
        ends = [Settlement(ids["running"], status, None, '{"type": "x"}' if status == "failed" else None, 1)]
        return QUERIES["commit_if_fenced"], {**commit_parameters(ONE, found, ends, (), taken), "again": False}

    return made


STATEMENTS: dict[str, Callable[[dict[str, str]], tuple[str, Any]]] = {
    "claim": _query("claim_if_fenced", **claim_parameters(TWO, ["default", "small"], 50)),
    "claim by the other": _query("claim_if_fenced", **claim_parameters(ONE, ["default", "small"], 50)),
    "complete": _commit("completed", ("wait", 2, Kind.COMPLETED, "1"), ("call", 2, Kind.DROPPED, None), takes=True),
    "fail": _commit("failed", ("wait", 2, Kind.FAILED, '{"type": "x"}')),
    "park": _commit("waiting", ("b", 1, Kind.COMPLETED, "1")),
    "signal": _each("signal(u.id, 'go')", *TO_SIGNAL),
    "cancel": _each("cancel(u.id)", *ALL),
    "pause": _each("pause(u.id)", *ALL),
    "resume": _each("resume(u.id)", *ALL),
    "reap": _query("reap_next", done=[], most=500),
    "release": _query("release", driver=ONE, most=500),
    "wake": _query("wake_due", limit=10),
    "news": _query("news_of_driver", driver=ONE, again=False),
    "marks": _query("place_marks", limit=10),
    "limit": lambda ids: ("SELECT dray.limit_queue('small', concurrency => 1), dray.pause_queue('other')", None),
    "submit": lambda ids: ("SELECT dray.submit('narrow', '{}')", None),
}


def transaction(name: str, ids: dict[str, str], end: str = "COMMIT") -> Transaction:
    return Transaction(name, ((name, *STATEMENTS[name](ids)),), end)
