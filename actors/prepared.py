"""From a NodeTask to a handler's answer, and from the answer to a NodeResult: what a runner does besides waiting.

A NodeSpec is prepared once in a runner: config parsed, templates compiled, the handler found, and where nothing in the
config changes, validated for good. What goes wrong in that is the failure of every node of the spec.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from typing import Any

from actors.context import Branch, NodeContext, Wait
from actors.errors import ConfigError, NodeError
from actors.expressions import CompiledConfig, compile_config
from actors.messages import NodeFailure, NodeResult, NodeSpec, NodeTask
from actors.registry import HandlerSpec, find_handler

CACHED = 10_000  # specs; one is a few KiB
MESSAGE_LENGTH = 2_000  # characters of an error's text that are kept

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Prepared:
    """One NodeSpec, ready to run. failure: why it cannot."""

    __slots__ = ("_compiled", "_static", "failure", "handler", "type")

    def __init__(self, spec: NodeSpec) -> None:
        self.type = spec.type
        self.failure: NodeFailure | None = None
        self.handler: HandlerSpec | None = None
        self._compiled: CompiledConfig | None = None
        self._static: Any = None
        try:
            self.handler = find_handler(spec.type)
            self._compiled = compile_config(json.loads(spec.config), self.handler.config_model)
            if self._compiled.is_static:
                self._static = self.handler.parse(self._compiled.render({}))
                self._compiled = None
        except Exception as error:  # noqa: BLE001  # a validator is a user's code, which may raise anything
            self.failure = as_failure(error, retryable=False)

    def config(self, scope: dict[str, Any]) -> Any:
        """What the handler takes as its config. Raises ConfigError."""
        if self._compiled is None:
            return self._static
        assert self.handler is not None
        return self.handler.parse(self._compiled.render(scope))


class PreparedSpecs:
    """The specs that this runner has seen, the least recently used forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Prepared] = OrderedDict()

    def get(self, spec: NodeSpec) -> Prepared:
        found = self._known.get(spec.key)
        if found is None:
            found = self._known[spec.key] = Prepared(spec)
            if len(self._known) > CACHED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(spec.key)
        return found


def context_of(task: NodeTask, deadline: float) -> NodeContext:
    """What the handler is given besides its config. deadline: on time.monotonic()."""
    scope: dict[str, Any] = {"execution": {"id": task.execution_id, "workflow": task.workflow}}
    if task.input is not None:
        scope["input"] = json.loads(task.input)
    if task.nodes:
        scope["nodes"] = {node_id: {"output": json.loads(text)} for node_id, text in task.nodes}
    if task.variables:
        found = [json.loads(text) for text in task.variables]
        scope["vars"] = {each["variable_name"]: each["value"] for each in found}
    inputs = {node_id: json.loads(text) for node_id, text in task.inputs} if task.inputs else {}
    return NodeContext(task.execution_id, task.node_key, task.attempt, deadline, scope, inputs)


def result_of(task_id: int, answer: Any, started: float, max_output_bytes: int) -> NodeResult:
    """The message for a handler's answer. An answer that is no JSON, or too much of it, is a failure."""
    branch, wait = None, None
    if isinstance(answer, Branch):
        branch, answer = answer.label, answer.output
    elif isinstance(answer, Wait):
        wait, answer = answer.seconds, answer.output
    try:
        output = output_text(answer, max_output_bytes)
        if branch is not None and not isinstance(branch, str):
            raise ConfigError(f"a branch is a text, not {branch!r:.80}")
    except ConfigError as error:
        return NodeResult(task_id, failure=as_failure(error), duration_ms=since(started))
    return NodeResult(task_id, output, branch, None, wait, since(started))


def output_text(answer: Any, max_bytes: int) -> str:
    """The answer as JSON text that Postgres can hold. Raises ConfigError, which says what to return instead."""
    try:
        text = _encode(answer)
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise ConfigError("the handler's output has half of a surrogate pair: encode it properly") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the handler's output is no JSON ({_cut(str(error), 200)}): return plain values") from None
    if size > max_bytes:
        raise ConfigError(
            f"the handler's output has {size:,} bytes, more than {max_bytes:,}: return less, or store it elsewhere and "
            "return where it is"
        )
    if "\\u0000" in text and _has_nul(answer):
        raise ConfigError("the handler's output has a NUL character, which Postgres cannot hold: remove it")
    return text


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(each) for key, each in value.items())
    return isinstance(value, (list, tuple)) and any(map(_has_nul, value))


def as_failure(error: BaseException, retryable: bool = True) -> NodeFailure:
    """What is kept of an exception: its class's name and its text, cut, in characters that Postgres can hold."""
    try:
        message = str(error) or repr(error)
    except Exception:  # noqa: BLE001  # the exception is a user's class
        message = f"a {type(error).__name__} whose text cannot be had"
    if isinstance(error, NodeError):
        retryable = error.retryable
    return NodeFailure(type(error).__name__, _cut(message, MESSAGE_LENGTH), retryable)


def since(started: float) -> int:
    """Milliseconds since a time of time.monotonic()."""
    return round((time.monotonic() - started) * 1000)


def _cut(text: str, length: int) -> str:
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
