"""The two messages between driver and runner, and the constant part of the first.

Plain tuples of plain values: they travel marshalled in batches, so no ObjectRef, no class of a user, nothing that needs
an import on the other side. Everything that came out of a handler or goes into one travels as JSON *text*: the driver
stores and forwards it without ever parsing it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class NodeSpec(NamedTuple):
    """What is the same for every execution of one node of one workflow version; a runner prepares it once and keeps it.

    key: `<workflow id>:<node id>`, unique in one database. config: JSON text of the canonical config.
    """

    key: str
    type: str
    config: str


class NodeTask(NamedTuple):
    """One attempt of one node, for a runner.

    id: a number of this driver's, echoed in the result. spec: key of a NodeSpec sent along in the same batch.
    attempt: 1 for the first. timeout: seconds that the handler may take.
    input: JSON text of the execution's input, None where the node does not name it.
    nodes: (node id, JSON text of its output) of every node that the config names.
    variables: outputs of the set_variable nodes before this one, oldest first.
    inputs: (node id, JSON text) of the direct predecessors, for handlers that ask for them.
    error: JSON text {"type", "message", "node"} of the failure that led to this node; None where none did.
    news: JSON text of what the node has waited for (see NodeResult.awaits): {"state": its own, as it left it} and one
    of "signal": {"name", "payload"}, "child": {"id", "status", "output", "error"}, "timed_out": true.
    """

    id: int
    spec: str
    execution_id: str
    node_key: str
    attempt: int
    timeout: float
    input: str | None = None
    nodes: tuple[tuple[str, str], ...] = ()
    variables: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    workflow: str = ""
    error: str | None = None
    news: str | None = None


class FailureType(StrEnum):
    """The types of failures that are Dray's own. That of an exception is the name of its class; where that is one of
    these, with its module before it (actors/runner/answer.py)."""

    CANCELLED = "cancelled"
    CONFIG = "config"
    ERROR_REFUSED = "error_refused"  # the database cannot hold the execution's error
    GRAPH_INVALID = "graph_invalid"
    INPUT_TOO_LARGE = "input_too_large"  # larger than all that its driver may hold
    INTERNAL = "internal"
    ITERATION_LIMIT = "iteration_limit"
    OUTPUT_REFUSED = "output_refused"  # the database cannot hold the node's outcome
    PARALLEL_FAILED = "parallel_failed"
    POISON = "poison"  # it died too often along with its runner or driver
    RUNNER_LOST = "runner_lost"
    TIMEOUT = "timeout"


class NodeFailure(NamedTuple):
    """Why an attempt failed.

    type: the exception's class name, or a FailureType.
    retry_after: seconds before which a retry is of no use; None = nobody has said.
    node: where it was, for the failure of another node that this one hands on.
    trace: the traceback of a handler's exception.
    """

    type: str
    message: str
    retryable: bool
    retry_after: float | None = None
    node: str | None = None
    trace: str | None = None


class ChildStart(NamedTuple):
    """An execution to be started by the commit that records the answer. id: a uuid of version 7, made by the handler.

    workflow: a name. version: None = the latest. input: JSON text.
    """

    id: str
    workflow: str
    version: int | None
    input: str


class NodeResult(NamedTuple):
    """What became of one NodeTask.

    Exactly one of five: failure set = failed; awaits set = the handler is to be called again, with news; wait set =
    done, with this output, after `wait` seconds; given_back set = nothing became of it; else completed.
    awaits: JSON text {"state"?: any value, "signal"?: name, "child"?: id}: call it again when that signal came, that
    child has ended, or `wait` seconds have passed (None = for ever), with the news and the state in NodeTask.news.
    child: to be started with this answer, waited for or not.
    output: JSON text, checked by the runner (no NaN, no NUL, within the size limit).
    branch: the label that chooses edges. duration_ms: handler time, measured in the runner.
    given_back: why the runner leaves it, by no fault of its own. Only a runner says so, and no handler can.
    """

    id: int
    output: str | None = None
    branch: str | None = None
    failure: NodeFailure | None = None
    wait: float | None = None
    duration_ms: int = 0
    awaits: str | None = None
    child: ChildStart | None = None
    given_back: str | None = None

    @property
    def outcome(self) -> str:
        """completed, failed, cancelled, given_back, or waiting: done or called again, but not yet."""
        if self.given_back is not None:
            return "given_back"
        if self.failure is not None:
            return "cancelled" if self.failure.type == FailureType.CANCELLED else "failed"
        return "waiting" if self.awaits or self.wait else "completed"
