"""What a handler is given, and what it may answer besides a plain JSON value.

async def call(config: CallConfig, ctx: NodeContext) -> Any:
    return {"x": 1}                            # the node's output
    return Branch("true", {"x": 1})            # the output, and the label that chooses edges
    return Wait(60, {"completed": True})       # the output, but the node is done in 60 seconds

A handler may also answer that it waits, and is then called again, with what came in ctx.news and what it left in
ctx.state. Meanwhile it holds nothing, and the execution parks:

    return WaitForSignal("paid", timeout=3600)                     # until that signal comes
    return WaitForChild("invoice", {"n": 1})                       # start a workflow, until it has ended
    return WaitForChild("invoice", {"n": 1}, wait=False, output=1)    # start it only: this is the output
    return Again(10, state={"tries": 1})                           # in 10 seconds
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dray.actors.expressions import config
from dray.actors.outside import environment

_LOGGER = logging.getLogger("dray.node")
_MAKING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Branch:
    """The node is done and takes the edges with this label. output: any JSON value, default None."""

    label: str
    output: Any = None


@dataclass(frozen=True, slots=True)
class Wait:
    """The node is done, with this output, after `seconds` (finite, 0 or more). The execution parks meanwhile."""

    seconds: float
    output: Any = None

    def __post_init__(self) -> None:
        _check_seconds("Wait", self.seconds)


@dataclass(frozen=True, slots=True)
class WaitForSignal:
    """Call the handler again when a signal of that name came, for this node or for whichever waits.

    timeout: seconds, None = for ever; then ctx.news.timed_out. state: any JSON value, for ctx.state.
    """

    name: str
    timeout: float | None = None
    state: Any = None

    def __post_init__(self) -> None:
        _check_seconds("WaitForSignal", self.timeout)


def uuid7() -> str:
    """A uuid of version 7: 48 bits of milliseconds, then random."""
    number = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62))


@dataclass(frozen=True, slots=True)
class WaitForChild:
    """Start an execution of a workflow, and call the handler again when it has ended (ctx.news.child).

    workflow: its name. version: None = the latest. input: any JSON value. timeout, state: as in WaitForSignal; a node
    that fails while its child runs has it cancelled. wait=False: nobody waits, the node is done with `output`.
    id: of the execution. It exists once this answer is stored.
    """

    workflow: str
    input: Any = None
    version: int | None = None
    wait: bool = True
    timeout: float | None = None
    state: Any = None
    output: Any = None
    id: str = field(default_factory=uuid7)

    def __post_init__(self) -> None:
        _check_seconds("WaitForChild", self.timeout)


@dataclass(frozen=True, slots=True)
class Again:
    """Call the handler again in `seconds` (finite, 0 or more), with ctx.news.timed_out. Each call is an attempt that is
    kept, so not every second for a month. state: any JSON value, for ctx.state."""

    seconds: float
    state: Any = None

    def __post_init__(self) -> None:
        _check_seconds("Again", self.seconds)


def _check_seconds(what: str, seconds: float | None) -> None:
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{what} needs a finite number of seconds, 0 or more, not {seconds}")


@dataclass(frozen=True, slots=True)
class News:
    """Why a handler that waited is called again: one of the three.

    signal: {"name", "payload"}. child: {"id", "status", "output", "error"}. timed_out: the time came first.
    """

    signal: Mapping[str, Any] | None = None
    child: Mapping[str, Any] | None = None
    timed_out: bool = False


@dataclass(slots=True)
class NodeContext:
    """One attempt of one node. A runner gives all of it; the defaults are for unit tests: f(config, NodeContext()).

    node_key: scope and node id, as in logs and checkpoints. attempt: 1 for the first.
    deadline: on the clock of time.monotonic(). scope: the names of expressions (input, nodes, vars, execution, error).
    inputs: node id -> output of each direct predecessor that ran; empty unless the handler needs "inputs".
    news: what it has waited for, None in the first call. state: what it left when it began to wait.
    """

    execution_id: str = "00000000-0000-0000-0000-000000000000"
    node_key: str = "node"
    attempt: int = 1
    deadline: float = math.inf
    scope: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    news: News | None = None
    state: Any = None
    _cancel: threading.Event | None = field(default=None, init=False, repr=False)

    @property
    def cancel(self) -> threading.Event:
        """Set by the runner at the deadline and on cancellation. To sleep, a handler may cancel.wait(seconds)."""
        if self._cancel is None:  # made when first asked for: an Event costs 2.5 us, a tenth of a small node
            with _MAKING:
                self._cancel = self._cancel or threading.Event()
        return self._cancel

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this node: hand it to services that can drop a repeated effect."""
        return f"{self.execution_id}/{self.node_key}"

    @property
    def vars(self) -> Mapping[str, Any]:
        """Variable name -> value as set so far; empty unless the handler needs "vars"."""
        found: Mapping[str, Any] = self.scope.get("vars") or {}
        return found

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The failure that led to this node: its type, message and node; None if none did."""
        found: Mapping[str, Any] | None = self.scope.get("error")
        return found

    @property
    def secrets(self) -> Mapping[str, str]:
        """The secrets that DRAY_SECRETS names. secrets["X"] of one that is not set is a ConfigError; never log them."""
        return environment.secrets()

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger "dray.node"; its records carry execution_id, node_key and attempt."""
        extra = {"execution_id": self.execution_id, "node_key": self.node_key, "attempt": self.attempt}
        return logging.LoggerAdapter(_LOGGER, extra)

    def remaining(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return max(0.0, self.deadline - time.monotonic())

    def cancelled(self) -> bool:
        """Whether to stop: the execution was cancelled or the deadline has passed. Long loops ask this now and then."""
        return (self._cancel is not None and self._cancel.is_set()) or time.monotonic() >= self.deadline

    def evaluate(self, expression: str, **names: Any) -> Any:
        """The value of a bare expression; `names` are visible in it beside the scope's (item=..., index=...).

        Raises ExpressionError, also for a missing key.
        """
        return config.evaluate(expression, self.scope, names)

    def evaluate_or_null(self, expression: str, **names: Any) -> Any:
        """The same, but a missing key is null, as in a template."""
        return config.evaluate(expression, self.scope, names, strict=False)
