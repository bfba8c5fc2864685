"""A good history is found good, and one that is spoilt in any way is found out.

The good one is made by a real driver, of workflows of every shape; its rows are then spoilt, one thing at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dray.cluster.cli.history import lines
from dray.cluster.history.effects import parse
from dray.cluster.history.facts import Child, Effect, Execution, Record, Signal
from dray.cluster.history.judge import RULES, Judge, Question, Report
from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.history import HistoryReader
from tests.chaos.drivers import PATIENCE, driver
from tests.chaos.shapes import LOGGED, SHAPES, apply_all
from tests.pg import a_database

EACH = 3  # executions of each shape
LEAST = {"final": 40, "order": 100, "signals": 6, "children": 9, "limited": 6, "at_most_once": 3, "retries": 6,
         "waits": 9, "effects": 140}  # fmt: skip
GRACE = 5.0


class Past:
    """What was read, as rows with names, to be spoilt. now: when."""

    def __init__(self, url: str, seen: list[Effect]) -> None:
        engine = connect(url, pool_size=1)
        reader = HistoryReader(engine)
        (batch,) = reader.batches()
        self.now = batch.now
        self.executions = [Execution(*row) for row in batch.executions]
        self.records = [Record(*row) for row in batch.records]
        self.signals = [Signal(*row) for row in batch.signals]
        self.children = [Child(*row) for row in batch.children]
        self.workflows = list(batch.workflows)
        self.names = {row[0]: row[1] for row in batch.workflows}
        self.queues: list[tuple[Any, ...]] = []
        self.effects = seen
        found = Judge(Question(), [])
        found.take(*batch)
        self.gates = reader.gates(found.gates())
        engine.dispose()

    def copy(self) -> Past:
        other = Past.__new__(Past)
        other.__dict__ = {name: list(each) if type(each) is list else each for name, each in self.__dict__.items()}
        return other

    def judged(self, **question: Any) -> Report:
        asked = Question(grace=GRACE, same_limits=True, logged=LOGGED, **question)
        found = Judge(asked, self.queues, self.effects)
        found.take(self.now, self.executions, self.records, self.signals, self.children, self.workflows)
        return found.end(self.gates)

    def execution(self, shape: str) -> Execution:
        return next(each for each in self.executions if self.names[each.workflow_id] == shape)

    def record(self, shape: str, key: str, kind: str = "") -> Record:
        wanted = self.execution(shape).id
        return next(each for each in self.records
                    if each.execution_id == wanted and each.node_key == key
                    and each.kind in (kind or each.kind))  # fmt: skip

    def change(self, row: Any, **changes: Any) -> None:
        rows = next(each for each in (self.executions, self.records, self.signals, self.children, self.effects)
                    if row in each)  # fmt: skip
        rows[rows.index(row)] = row._replace(**changes)

    def reopen(self, shape: str, **changes: Any) -> Execution:
        """As if it had not ended."""
        e = self.execution(shape)
        self.change(e, finished_at=None, **{"status": "waiting", **changes})
        return self.execution(shape)

    def forget_after(self, record: Record) -> None:
        """As if this were the last that was recorded of its execution."""
        self.records = [
            each for each in self.records if each.execution_id != record.execution_id or each.at <= record.at
        ]


@pytest.fixture(scope="module")
def past(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    folder = tmp_path_factory.mktemp("history")
    with a_database(server) as url, Client(url) as client:
        apply_all(client)
        ids = [each for name in SHAPES if name not in ("leaf", "middle") for each in _submit(client, name)]
        with driver(url, folder, concurrency=100, retry_delay=0.1) as running:
            _answer(client, ids)
            assert running.stop() == 0, running.said
        yield Past(url, parse((folder / "effects.jsonl").read_text().splitlines()))


def _submit(client: Client, name: str) -> list[str]:
    return client.submit_many(name, [{"key": f"k{n % 2}"} for n in range(EACH)])


def _answer(client: Client, ids: list[str]) -> None:
    """Sends every signal that anybody waits for, until all have ended."""
    until = time.monotonic() + PATIENCE
    for name in ("go", "stop", "answer"):
        for each in ids:
            client.signal(each, name)
    for each in ids:
        assert client.wait(each, until - time.monotonic()).status == "completed", client.get(each)


def test_a_good_history_is_good_and_there_was_enough_to_judge(past: Past) -> None:
    report = past.judged(idle=True, least=LEAST)
    assert report.violations == [], "\n".join(lines(report))


def test_too_little_is_no_proof(past: Past) -> None:
    report = past.judged(least={"final": 100_000, "effects": 1})
    assert [each.message for each in report.violations] == [
        f"too little happened: {len(past.executions)} final, 100000 are wanted"
    ]


SPOILT: list[tuple[str, str, Callable[[Past], object]]] = []
QUESTION: dict[str, dict[str, Any]] = {}


def spoils(rule: str, what: str, **question: Any) -> Callable[[Callable[[Past], object]], None]:
    def keep(function: Callable[[Past], object]) -> None:
        SPOILT.append((rule, what, function))
        QUESTION[what] = question

    return keep


def _(rule: str, what: str, function: Callable[[Past], object], **question: Any) -> None:
    spoils(rule, what, **question)(function)


# Statuses

_("status", "a status that there is not", lambda p: p.change(p.execution("chain"), status="stuck"))
_("status", "an owner of what has ended", lambda p: p.change(p.execution("chain"), owner="x"))
_("status", "running without an owner", lambda p: p.reopen("chain", status="running"))
_("status", "an end without a time", lambda p: p.change(p.execution("chain"), finished_at=None))
_("status", "completed without a claim", lambda p: p.change(p.execution("chain"), claim_count=0))
_("status", "more crashes than claims", lambda p: p.change(p.execution("chain"), crash_count=9))
_("status", "no input", lambda p: p.reopen("signal", has_input=False))
_(
    "status",
    "an end before the submit",
    lambda p: p.change(p.execution("chain"), finished_at=p.execution("chain").made_at - 5),
)
_(
    "status",
    "a start before the submit",
    lambda p: p.change(p.execution("chain"), started_at=p.execution("chain").made_at - 5),
)
_(
    "status",
    "an end before the start",
    lambda p: p.change(p.execution("chain"), started_at=p.execution("chain").finished_at + 0.1),
)
_("status", "a child at the wrong depth", lambda p: p.change(p.execution("leaf"), depth=7))
_("status", "no workflow", lambda p: p.workflows.clear())

# Ends


@spoils("once", "a node that completed twice")
def _twice(p: Past) -> None:
    found = p.record("chain", "b")
    p.records.insert(p.records.index(found) + 1, found._replace(attempt=2))


@spoils("once", "a node that failed and completed")
def _both(p: Past) -> None:
    found = p.record("chain", "b")
    p.records.insert(p.records.index(found), found._replace(attempt=0, kind="f"))


@spoils("once", "a node that went on after its end")
def _went_on(p: Past) -> None:
    found = p.record("chain", "b")
    p.records.insert(p.records.index(found) + 1, found._replace(attempt=2, kind="r"))


_(
    "once",
    "attempts in the wrong order",
    lambda p: p.change(p.record("retried", "a", "r"), at=p.record("retried", "c").at),
)
_(
    "retry",
    "before its time",
    lambda p: p.change(p.record("retried", "a", "r"), wake_at=p.record("retried", "a", "r").at + 300),
)
_(
    "end",
    "an outcome after the end",
    lambda p: p.change(p.record("chain", "d"), at=p.execution("chain").finished_at + 0.01),
)
_(
    "end",
    "a signal taken after the end",
    lambda p: p.change(_signal(p), consumed_at=p.execution("signal").finished_at + 0.01),
)
_(
    "end",
    "a child begun after the end",
    lambda p: p.change(_child(p, "parent"), run_at=p.execution("parent").finished_at + 5),
)


def _signal(p: Past) -> Signal:
    return next(each for each in p.signals if each.execution_id == p.execution("signal").id and each.name == "go")


def _child(p: Past, shape: str) -> Child:
    return next(each for each in p.children if each.parent_id == p.execution(shape).id)


# Order


def late(p: Past, shape: str, key: str, before: str) -> None:
    """The record of `key` was committed when the one of `before` had begun."""
    began = p.record(shape, before).began_by
    assert began is not None
    p.change(p.record(shape, key), at=began + 0.01, committed=None)


_("order", "a successor before the commit", lambda p: late(p, "chain", "a", "b"))
_("order", "the last commit of a join", lambda p: late(p, "join", "A", "J"))
_("order", "what a timer waits for", lambda p: late(p, "join", "W", "J"))
_("order", "behind what is derived", lambda p: late(p, "join", "B", "J"))
_("order", "an item before the end of a foreach", lambda p: late(p, "items", "each[0]/work", "after"))
_("order", "the items before their list", lambda p: late(p, "items", "each[]", "each[0]/work"))
_("order", "a turn before the end of the one before", lambda p: late(p, "turns", "turns[0]/more", "turns[1]/work"))
_("order", "within a turn", lambda p: late(p, "turns", "turns[1]/work", "turns[1]/more"))
_(
    "order",
    "an effect before the commit",
    lambda p: p.change(_effect(p, "chain", "c"), at=p.record("chain", "b").at - 0.01),
)
_("complete", "a node left out", lambda p: p.records.remove(p.record("chain", "d")))
_("complete", "a node left out in a turn", lambda p: p.records.remove(p.record("turns", "turns[2]/more")))


def _effect(p: Past, shape: str, key: str) -> Effect:
    wanted = f"{p.execution(shape).id}/{key}"
    return next(each for each in p.effects if each.key == wanted)


# At most once

_("at_most_once", "an attempt that is to be repeated", lambda p: p.change(p.record("once", "pay", "c"), kind="r"))
_("at_most_once", "a lost runner that is to be forgotten", lambda p: p.change(p.record("once", "pay", "c"), kind="l"))
_("at_most_once", "no start", lambda p: p.records.remove(p.record("once", "pay", "s")))
_(
    "at_most_once",
    "a start that was written too late",
    lambda p: p.change(p.record("once", "pay", "s"), at=p.record("once", "pay", "c").at - 0.1),
)
_("at_most_once", "an effect twice", lambda p: p.effects.append(_effect(p, "once", "pay")))
_(
    "at_most_once",
    "an effect in two attempts",
    lambda p: p.effects.append(_effect(p, "once", "pay")._replace(attempt=2)),
)

# Signals

_("signal", "taken by halves", lambda p: p.change(_signal(p), consumed_at=None))
_("signal", "by a node that did not wait", lambda p: p.change(_signal(p), consumed_by="a"))
_("signal", "by another node", lambda p: p.change(_signal(p), node="b"))
_("signal", "two by one wait", lambda p: p.signals.append(_signal(p)._replace(id=10_000)))

# Children

_("child", "one that nobody waits for", lambda p: p.children.append(_child(p, "parent")._replace(id="other")))
_(
    "child",
    "one for two waits",
    lambda p: p.change(p.record("parent", "right", "g"), child=p.record("parent", "left", "g").child),
)
_(
    "child",
    "an answer before its end",
    lambda p: p.change(_child(p, "parent"), finished_at=p.execution("parent").finished_at + 1),
)
_("child", "an answer while it runs", lambda p: p.change(_child(p, "parent"), finished_at=None, status="running"))
_(
    "child",
    "one that goes on after its parent was cancelled",
    lambda p: p.reopen("leaf", parent_status="cancelled", parent_finished_at=p.now[0] - 60, wake_at=p.now[0] + 9),
    drivers=1,
)


@spoils("child", "one that is missing")
def _missing(p: Past) -> None:
    found = p.record("middle", "call", "g")
    p.forget_after(found)
    p.children = [each for each in p.children if each.id != found.child]
    p.reopen("middle")


# What has not ended

_("waiting", "an owner that does not exist", lambda p: p.reopen("chain", status="running", owner="x", is_held=False))
_(
    "waiting",
    "a lease that ran out long ago",
    lambda p: p.reopen("chain", status="running", owner="x", lease_until=p.now[0] - 60),
    drivers=1,
)
_("waiting", "a timer that was due long ago", lambda p: p.reopen("chain", wake_at=p.now[0] - 60), drivers=1)
_("waiting", "for nothing", lambda p: p.reopen("chain"))
_("waiting", "for its first run, and no time", lambda p: p.reopen("chain", claim_count=0, started_at=None))
_("waiting", "still queued", lambda p: p.reopen("chain", status="queued"), idle=True)
_("waiting", "marks that nobody placed", lambda p: setattr(p, "now", (p.now[0], p.now[1], 3)), idle=True)


@spoils("waiting", "asleep although a node is due", drivers=1)
def _asleep(p: Past) -> None:
    found = p.record("retried", "a", "r")
    p.forget_after(found)
    p.change(found, wake_at=p.now[0] - 60)
    p.reopen("retried", wake_at=p.now[0] + 60)


@spoils("waiting", "for a signal that is there", drivers=1)
def _deaf(p: Past) -> None:
    found = p.record("signal", "go", "g")
    p.forget_after(found)
    p.change(found, at=p.now[0] - 60)
    p.change(_signal(p), sent_at=p.now[0] - 60, consumed_at=None, consumed_by=None)
    p.signals = [each for each in p.signals if each.consumed_by is None or each.execution_id != found.execution_id]
    p.reopen("signal")


@spoils("waiting", "for a child that has ended", drivers=1)
def _unheard(p: Past) -> None:
    found = p.record("middle", "call", "g")
    p.forget_after(found)
    p.change(_child(p, "middle"), finished_at=p.now[0] - 60)
    p.reopen("middle")


# Limits


@spoils("limit", "more of a workflow at once than may")
def _crowd(p: Past) -> None:
    p.gates = [(name, {"concurrency": 1} if name == "narrow" else given, since) for name, given, since in p.gates]
    _together(p, "narrow")


def _together(p: Past, shape: str) -> None:
    """As if all of a shape had run at the same time."""
    first = p.execution(shape)
    for each in list(p.executions):
        if each.workflow_id == first.workflow_id:
            p.change(each, started_at=first.started_at, finished_at=first.finished_at)
    p.records = [each for each in p.records if p.names[_of(p, each).workflow_id] != shape]
    p.effects = [each for each in p.effects if p.names[_of(p, each).workflow_id] != shape]


def _of(p: Past, row: Record | Effect) -> Execution:
    wanted = row.execution if isinstance(row, Effect) else row.execution_id
    return next(each for each in p.executions if each.id == wanted)


_("limit", "two of one key", lambda p: _together(p, "narrow"))


@spoils("limit", "more in a queue than may")
def _full(p: Past) -> None:
    p.queues = [("default", False, 1, None, None)]
    _together(p, "chain")


@spoils("rate", "more starts of a workflow than may")
def _fast(p: Past) -> None:
    p.gates = [(name, {"rate": {"limit": 2, "per": 60}} if name == "rated" else given, 0) for name, given, _ in p.gates]


_("rate", "more starts in a queue than may", lambda p: p.queues.append(("default", False, None, 10, 60.0)))

# Effects

_("effect", "the same attempt in one claim twice", lambda p: p.effects.append(_effect(p, "chain", "b")))
_(
    "effect",
    "after the node had ended",
    lambda p: p.effects.append(_effect(p, "chain", "b")._replace(attempt=2, at=p.record("chain", "b").at + 0.01)),
)
_(
    "effect",
    "after the execution had ended",
    lambda p: p.effects.append(
        _effect(p, "fork", "b")._replace(
            key=f"{p.execution('fork').id}/a", at=p.execution("fork").finished_at + 5, attempt=2
        )
    ),
)
_("effect", "none, and yet it completed", lambda p: p.effects.remove(_effect(p, "chain", "b")))
_(
    "accepted",
    "of what was never accepted",
    lambda p: p.effects.append(_effect(p, "chain", "b")._replace(key="01970f3e-5b1c-7a42-9d07-3f2b8c6e1a55/b")),
)
_(
    "little",
    "nothing at all",
    lambda p: [each.clear() for each in (p.executions, p.records, p.effects, p.signals, p.children)],
    least={"final": 1},
)


@pytest.mark.parametrize(("rule", "what", "spoil"), SPOILT, ids=[f"{rule}: {what}" for rule, what, _ in SPOILT])
def test_a_spoilt_history_is_found_out(past: Past, rule: str, what: str, spoil: Callable[[Past], object]) -> None:
    spoilt = past.copy()
    question = dict(QUESTION[what])
    spoilt.now = (past.now[0], question.pop("drivers", 0), 0)
    assert spoilt.judged(**question).violations == []
    spoil(spoilt)
    report = spoilt.judged(**question)
    assert rule in {each.rule for each in report.violations}, "\n".join(lines(report)) or "it said nothing"
    assert all(each.rows for each in report.violations if each.execution is not None), "it shows what it saw"


def test_every_rule_has_been_broken() -> None:
    assert {rule for rule, _, _ in SPOILT} == set(RULES)
