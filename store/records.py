"""What the store gives and takes: plain tuples of plain values. JSON stays text, unparsed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


class ExecutionStatus(StrEnum):
    """Where an execution stands."""

    QUEUED = "queued"  # waits for a driver
    RUNNING = "running"  # a driver holds it
    WAITING = "waiting"  # parked: for a timer, a retry, a signal, or until its run_at
    PAUSED = "paused"  # held back by a person
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})

# from -> {to: the statements of store/sql (or functions of the schema, dray.*) that may make it}. Nothing else writes a
# status; tests/unit/store/test_records.py reads the SQL and sees to it.
_S = ExecutionStatus
CANCELS = ("dray.cancel_one", "dray.cancel_below", "dray.place_marks")
TRANSITIONS: dict[ExecutionStatus | None, dict[ExecutionStatus, tuple[str, ...]]] = {
    None: {
        _S.QUEUED: ("dray.submit", "dray.submit_many", "dray.start_children", "dray.begin_again"),
        _S.WAITING: ("dray.submit", "dray.start_children"),  # its run_at lies ahead; its parent's row is locked
    },
    _S.QUEUED: {
        _S.RUNNING: ("dray.claim_if_fenced",),
        _S.PAUSED: ("dray.pause",),
        _S.FAILED: ("dray.end_overdue",),
        _S.CANCELLED: CANCELS,
    },
    _S.RUNNING: {
        _S.QUEUED: ("dray.commit_if_fenced", "dray.give_back"),  # woken while it parked; its driver stopped or died
        _S.WAITING: ("dray.commit_if_fenced",),
        _S.PAUSED: ("dray.commit_if_fenced", "dray.give_back"),
        _S.COMPLETED: ("dray.commit_if_fenced",),
        _S.FAILED: ("dray.commit_if_fenced",),
        _S.CANCELLED: ("dray.commit_if_fenced", "dray.give_back"),
    },
    _S.WAITING: {
        # wake_executions: a child has ended; begin_children: its parent's row was locked when it was started.
        _S.QUEUED: ("wake_due", "dray.signal", "dray.wake_executions", "dray.begin_children"),
        _S.PAUSED: ("dray.pause",),
        _S.CANCELLED: (*CANCELS, "dray.begin_children"),
    },
    _S.PAUSED: {
        _S.QUEUED: ("dray.resume",),
        _S.WAITING: ("dray.resume",),  # a timer lies ahead
        _S.CANCELLED: (*CANCELS, "dray.begin_children"),
    },
    _S.COMPLETED: {},
    _S.FAILED: {},
    _S.CANCELLED: {},
}


class Kind(StrEnum):
    """What a checkpoint records. One letter in the database: every outcome is a row, and a hundred million of them are
    kept; a word would cost each some eight bytes, in the index of waits too."""

    COMPLETED = "c"
    WAITS_FOR_TIME = "w"  # until wake_at, and is then completed
    WAITS_FOR_NEWS = "g"  # for a signal, a child or until wake_at, and is then called again
    RETRIED = "r"  # an attempt that failed; the next one is at wake_at
    RUNNER_LOST = "l"
    STARTED = "s"  # of an at_most_once node, before it starts
    FAILED = "f"
    DROPPED = "d"  # it waited, and is not needed any more


class Stage(StrEnum):
    """Which limits a queued or running execution has passed, in the order in which it must. One letter in the database,
    as it is part of two indexes of queued rows."""

    KEY = "k"  # waits for a place under its concurrency key
    RATE = "r"  # for its turn within the rate of its workflow
    WORKFLOW = "w"  # for a place under the limit of its workflow
    PASSED = "p"


TURNS = "t"  # the letter of the lane in which the executions of tenants take turns, where the others have their stage's


class Budget(NamedTuple):
    """What a claim may take. most: bytes of one input, room: of all. crash_limit: of one with more crashes no input."""

    most: int = 1 << 40
    room: int = 1 << 40
    crash_limit: int = 32_767


class Claimed(NamedTuple):
    """One claimed execution. age: seconds since its first start. input: JSON text; None where it is past the Budget.

    input_size: in bytes, None = at most 8 KiB.
    """

    id: str
    workflow_id: int
    claim_count: int
    crash_count: int
    age: float
    input: str | None
    input_size: int | None = None


class StoredOutcome(NamedTuple):
    """A checkpoint as it was recorded. wait: seconds until its wake_at, negative when that has passed.

    large: its outcome was left out. age: seconds since it was recorded.
    """

    execution_id: str
    node_key: str
    attempt: int
    kind: str  # one of Kind
    branch: str | None
    outcome: str | None
    wait: float | None
    large: bool = False
    age: float = 0.0


class Outcome(NamedTuple):
    """A checkpoint to be recorded. outcome: JSON text. wait: seconds from the commit. runner: its id in dray.runner.

    What a node that waits for news records as its outcome is NodeResult.awaits.
    """

    execution_id: str
    node_key: str
    attempt: int
    kind: str  # one of Kind
    branch: str | None
    outcome: str | None
    wait: float | None
    runner: int | None
    duration_ms: int | None


class Child(NamedTuple):
    """An execution to be started along with an outcome. workflow: a name, else the number of a stored version.

    version: None = the latest. input: JSON text. detached: nobody waits for it, so its end is no news, and it goes on
    when its parent is cancelled.
    """

    id: str
    parent_id: str
    workflow: str
    version: int | None
    input: str
    detached: bool = False


class Taken(NamedTuple):
    """A signal that a node of an execution takes along with its outcome."""

    id: int
    node_key: str
    execution_id: str = ""


class Signal(NamedTuple):
    """A signal that no node has taken yet. node: the id or key of the one that it is for, None = whichever waits for
    that name. payload: JSON text."""

    id: int
    execution_id: str
    name: str
    node: str | None
    payload: str | None


class ChildEnd(NamedTuple):
    """A child that has ended. parent_id: the execution that waits for it. output, error: JSON text."""

    id: str
    parent_id: str
    status: str
    output: str | None
    error: str | None


class Settlement(NamedTuple):
    """What becomes of an execution that its driver gives back. wake_in: seconds, for waiting. error: JSON text.

    claim: the claim_count of the claim that ends with it; None: whichever.
    """

    execution_id: str
    status: str
    wake_in: float | None
    error: str | None
    claim: int | None = None


class StoredWorkflow(NamedTuple):
    """One workflow version. graph: the canonical form."""

    id: int
    name: str
    version: int
    graph: dict[str, Any]


class Recorded(NamedTuple):
    """What became of a commit. settled: executions that were settled. refused: those that this incarnation does not
    hold by that claim, so that nothing of them was written. Of the others everything was recorded; a settlement that is
    in neither was left out, because somebody else keeps the row locked."""

    settled: frozenset[str]
    refused: frozenset[str] = frozenset()


class Reaped(NamedTuple):
    """An incarnation that has ended. requeued: executions taken from it. planned: it was stopped, and did not crash.

    has_left: executions that somebody else keeps locked are its still.
    """

    driver: str
    host: str
    pid: int
    requeued: int
    planned: bool = False
    has_left: bool = False


class Released(NamedTuple):
    """The planned end. moved: executions given back. has_left: somebody else keeps some locked; whoever comes by gives
    them back, without counting a crash."""

    moved: int
    has_left: bool


class DueSchedule(NamedTuple):
    """A schedule that a driver has to look at. since: slots after it count. next_at: None = to be worked out from that.

    queued: the slot that waits until its execution before has ended. idle: that one has. failures: in a row. revision:
    of the row, changed by every change. now: the database's clock.
    """

    id: str
    name: str
    kind: str
    expression: str
    zone: str
    overlap: str
    missed: str
    missed_limit: int | None
    since: datetime
    next_at: datetime | None
    queued: datetime | None
    idle: bool
    failures: int
    revision: int
    now: datetime


def queue_stats(row: Sequence[Any]) -> tuple[str, dict[str, int], float]:
    """A row of dray.queue_stats: queue, status -> executions, seconds that the oldest queued one has waited."""
    queue, queued, running, waiting, paused, oldest = row
    return queue, {"queued": queued, "running": running, "waiting": waiting, "paused": paused}, oldest
