"""What happens to an execution (events) and what is to be done about it (commands). ExecutionRun.handle() maps one to
the other; the driver makes the former and carries out the latter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from dray.actors.messages import FailureType, NodeResult
from dray.store.records import Child, ChildEnd, Outcome, Settlement, Signal, StoredOutcome

MAX_REASON = 500  # characters of what the database says

# Events


class Begin(NamedTuple):
    """The execution was claimed. stored: its checkpoints so far, per node in the order of their attempts.

    signals, children: what it may have waited for and has not taken in yet.
    """

    stored: Sequence[StoredOutcome] = ()
    signals: Sequence[Signal] = ()
    children: Sequence[ChildEnd] = ()


class News(NamedTuple):
    """Signals came, or children ended, while it runs. What it knows already may be among them."""

    signals: Sequence[Signal] = ()
    children: Sequence[ChildEnd] = ()


class NodeDone(NamedTuple):
    """A runner answered. runner: its id in the database."""

    node: int
    attempt: int
    result: NodeResult
    runner: int | None = None


class NodeLost(NamedTuple):
    """The runner is gone and its answer with it. crash: False for a planned stop, which counts for nothing."""

    node: int
    attempt: int
    reason: str
    crash: bool
    runner: int | None = None


class Committed(NamedTuple):
    """All outcomes up to this number are in the database (Record.number)."""

    number: int


class TimerDue(NamedTuple):
    """node: whose wait is over; None: the time of the whole execution."""

    node: int | None


class ControlChanged(NamedTuple):
    """Somebody asked for something. control: cancel or pause."""

    control: str


class OutcomeRefused(NamedTuple):
    """The database cannot hold this outcome, whatever we do: nothing of its batch entry is stored.

    is_child: it is the child that cannot be started: its workflow is not there, or it would be too deep.
    """

    outcome: Outcome
    reason: str
    is_child: bool = False

    @property
    def error(self) -> str:
        """What the node fails with."""
        node = self.outcome.node_key.rpartition("/")[2]
        reason = self.reason[:MAX_REASON]
        if self.is_child:
            return error_text(FailureType.CONFIG, f"it cannot start an execution: {reason}", node)
        return error_text(FailureType.OUTPUT_REFUSED, f"the database cannot hold its outcome: {reason}", node)


Event: TypeAlias = Begin | News | NodeDone | NodeLost | Committed | TimerDue | ControlChanged | OutcomeRefused

# Commands


class Dispatch(NamedTuple):
    """Give the node to a runner. suspect: its runner died more than once, so it must not share one."""

    node: int
    attempt: int
    suspect: bool = False


class Record(NamedTuple):
    """Write the outcome, after all that were given before; once it is committed, come back with Committed(number).

    child: start it in the same transaction. signal: the id of the one that this outcome takes, in the same transaction.
    """

    outcome: Outcome
    number: int = 0
    child: Child | None = None
    signal: int | None = None


class Settle(NamedTuple):
    """Write the outcomes recorded so far and give the execution back; it is over for this driver."""

    settlement: Settlement


class SetTimer(NamedTuple):
    """Come back with TimerDue(node) in so many seconds."""

    node: int | None
    seconds: float


class Abandon(NamedTuple):
    """Cancel what still runs of this execution, or only of these nodes; nobody waits for the answers."""

    nodes: Sequence[int] | None = None


Command: TypeAlias = Dispatch | Record | Settle | SetTimer | Abandon


def error_text(kind: str, message: str, node: str | None = None, trace: str | None = None) -> str:
    """An error as it is stored. kind: as NodeFailure.type. trace: in the record of its attempt alone. Its keys are in
    the order in which the database gives them back: `{{ error }}` is the same text before and after a park."""
    where = {} if node is None else {"node": node}
    more = {} if trace is None else {"trace": trace}
    return json.dumps({**where, "type": kind, **more, "message": message}, ensure_ascii=False)


def without_trace(text: str) -> str:
    """The error as it is handed on, to expressions and as the execution's: it may be that of each of many items."""
    if '"trace"' not in text:
        return text
    error = json.loads(text)
    error.pop("trace", None)
    return json.dumps(error, ensure_ascii=False)
