"""What a handler is given, and what it may answer besides a plain JSON value.

async def call(config: CallConfig, ctx: NodeContext) -> Any:
    return {"x": 1}                            # the node's output
    return Branch("true", {"x": 1})            # the output, and the label that chooses edges
    return Wait(60, {"completed": True})       # the output, but the node is done in 60 seconds
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actors import expressions, handler_env

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
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"Wait needs a finite number of seconds, 0 or more, not {self.seconds}")


@dataclass(slots=True)
class NodeContext:
    """One attempt of one node.

    node_key: scope and node id, as in logs and checkpoints. attempt: 1 for the first.
    deadline: on the clock of time.monotonic(). scope: the names of expressions (input, nodes, vars, execution, error).
    inputs: node id -> output of each direct predecessor that ran; empty unless the handler needs "inputs".
    """

    execution_id: str
    node_key: str
    attempt: int
    deadline: float
    scope: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
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
        return handler_env.secrets()

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
        return expressions.evaluate(expression, ChainMap(names, self.scope))  # type: ignore[arg-type]  # only read

    def evaluate_or_null(self, expression: str, **names: Any) -> Any:
        """The same, but a missing key is null, as in a template."""
        return expressions.evaluate(expression, ChainMap(names, self.scope), strict=False)  # type: ignore[arg-type]
