"""The two messages between driver and runner, and the constant part of the first.

Plain tuples of plain values: they travel marshalled in batches, so no ObjectRef, no class of a user, nothing that needs
an import on the other side. Everything that came out of a handler or goes into one travels as JSON *text*: the driver
stores and forwards it without ever parsing it.
"""

from __future__ import annotations

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


class NodeFailure(NamedTuple):
    """Why an attempt failed.

    type: the exception's class name, or one of timeout, cancelled, config, runner_lost, poison.
    """

    type: str
    message: str
    retryable: bool


class NodeResult(NamedTuple):
    """What became of one NodeTask.

    Exactly one of three: failure set = failed; wait set = done, with this output, after `wait` seconds; else completed.
    output: JSON text, checked by the runner (no NaN, no NUL, within the size limit).
    branch: the label that chooses edges. duration_ms: handler time, measured in the runner.
    """

    id: int
    output: str | None = None
    branch: str | None = None
    failure: NodeFailure | None = None
    wait: float | None = None
    duration_ms: int = 0
