"""One call of a handler: what is prepared once per node of a workflow version, and what belongs to one attempt."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from dray.actors.context import News, NodeContext
from dray.actors.errors import ConfigError, NodeError
from dray.actors.expressions.bounds import OUTPUTS, Limits, limits
from dray.actors.expressions.config import CompiledConfig, compile_config
from dray.actors.messages import FailureType, NodeFailure, NodeResult, NodeSpec, NodeTask
from dray.actors.outside import environment
from dray.actors.registry import HandlerSpec, find_handler
from dray.actors.runner.answer import answered, clean, failed, failure_of

_UNSET = object()
_log = logging.getLogger("dray.runner")


class Prepared:
    """A NodeSpec, ready to run. It is compiled by its first call: what goes wrong in that is that call's failure."""

    __slots__ = ("_compiled", "_static", "gate", "handler", "is_async", "spec")

    def __init__(self, spec: NodeSpec, handler: HandlerSpec | None, gate: Gate | None) -> None:
        self.spec = spec
        self.handler = handler  # None: unknown type
        self.is_async = handler is not None and handler.is_async
        self.gate = gate
        self._compiled: CompiledConfig | None = None
        self._static: Any = _UNSET  # the parsed config, if nothing in it depends on the scope

    def config(self, scope: Mapping[str, Any]) -> Any:
        """What the handler takes as its config. Raises ConfigError."""
        if self._static is not _UNSET:
            return self._static
        handler = self.handler or find_handler(self.spec.type)
        compiled = self._compiled
        if compiled is None:
            compiled = self._compiled = compile_config(self._parsed(), handler.config_model)
        config = handler.parse(compiled.render(scope), lambda: compiled.nulls(scope))
        if compiled.is_static:
            self._static = config
        return config

    def _parsed(self) -> dict[str, Any]:
        try:
            config = json.loads(self.spec.config)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the stored config of this node is no JSON: {error}; store the workflow again") from None
        if not isinstance(config, dict):
            raise ConfigError(f"the stored config of this node is no object but {clean(self.spec.config, 80)}")
        return config


class Scope(Mapping[str, Any]):
    """The names of expressions, each parsed from the task's JSON texts when it is first asked for."""

    __slots__ = ("_task", "_values")

    def __init__(self, task: NodeTask) -> None:
        self._task = task
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = _ROOTS[name](self._task)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_ROOTS)

    def __len__(self) -> int:
        return len(_ROOTS)


def _variables(task: NodeTask) -> dict[str, Any]:
    found = [json.loads(text) for text in task.variables]
    return {each["variable_name"]: each["value"] for each in found}


def _input(task: NodeTask) -> Any:
    return None if task.input is None else json.loads(task.input)


def _own_or_whole(value: Any, key: str) -> Any:
    """What the platform's `trigger.data.x` and `node.result.x` mean: the value of that key where there is one, else the
    value itself."""
    return value[key] if isinstance(value, dict) and key in value else value


def _trigger(task: NodeTask) -> Any:
    found = _input(task)
    whole = {key: _own_or_whole(found, key) for key in ("data", "payload", "output", "result")}
    return {**found, **whole} if isinstance(found, dict) else whole


def _nodes(task: NodeTask) -> dict[str, Any]:
    found = {node_id: json.loads(text) for node_id, text in task.nodes}
    return {each: {"output": value, "result": _own_or_whole(value, "result")} for each, value in found.items()}


_ROOTS: dict[str, Callable[[NodeTask], Any]] = {
    "input": _input,
    "trigger": _trigger,
    "data": lambda task: _own_or_whole(_input(task), "data"),
    "nodes": _nodes,
    "vars": _variables,
    "execution": lambda task: {"id": task.execution_id, "workflow": task.workflow},
    "error": lambda task: None if task.error is None else json.loads(task.error),
    "secrets": lambda _: environment.NamedInExpressions(),
}


class Gate:
    """How many nodes of one type may run at once in this runner. Guarded by the runner's lock."""

    __slots__ = ("inside", "limit", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inside = 0
        self.waiting: deque[Call] = deque()


class Call:
    """One NodeTask in a runner.

    handed: given to the threads or the loop, past its gate. started: when, on the clock of time.monotonic().
    cancelled: somebody asked for it. overdue: the deadline has passed, and the handler was told.
    asked_loop, heard_loop: when the loop was told to cancel it, and whether it has come to that.
    given_up: the runner has answered for it; the thread or loop it may still be on counts no more.
    """

    __slots__ = (
        "asked_loop", "cancelled", "ctx", "given_up", "handed", "heard_loop", "loop", "overdue", "prepared", "started",
        "task", "tracked",
    )  # fmt: skip

    def __init__(self, task: NodeTask, prepared: Prepared) -> None:
        self.task = task
        self.prepared = prepared
        self.ctx = NodeContext(task.execution_id, task.node_key, task.attempt, 0.0, Scope(task))
        self.started: float | None = None
        self.handed = self.cancelled = self.overdue = self.given_up = self.heard_loop = False
        self.loop: Any = None  # the LoopThread that it runs on
        self.tracked: Any = None  # its asyncio.Task there

    @property
    def name(self) -> str:
        return f"{self.task.execution_id}/{self.task.node_key} ({self.prepared.spec.type})"

    def begin(self) -> None:
        now = time.monotonic()
        self.ctx.deadline = now + self.task.timeout
        self.started = now  # last: whoever sees it finds the deadline

    def run(self, max_bytes: int) -> NodeResult:
        """Call a plain function. Raises nothing, whatever the handler does."""
        try:
            answer = self._called(max_bytes)
            if isinstance(answer, Coroutine):
                answer.close()
                raise ConfigError(f"the handler of {self.prepared.spec.type!r} gave a coroutine: write it as async def")
            return answered(self.task.id, answer, max_bytes, self.milliseconds())
        except BaseException as error:  # noqa: BLE001  # SystemExit is this node's failure, not the runner's end
            return failed(self.task.id, self._failure(error), self.milliseconds())

    async def run_async(self, max_bytes: int) -> NodeResult:
        """Call a coroutine function. Raises nothing."""
        try:
            return answered(self.task.id, await self._called(max_bytes), max_bytes, self.milliseconds())
        except BaseException as error:  # noqa: BLE001  # CancelledError too: only this runner cancels its calls
            return failed(self.task.id, self._failure(error), self.milliseconds())

    def _called(self, max_bytes: int) -> Any:
        task, ctx, prepared = self.task, self.ctx, self.prepared
        if task.inputs:
            ctx.inputs = {node_id: json.loads(text) for node_id, text in task.inputs}
        if task.news is not None:
            news = json.loads(task.news)
            ctx.state = news.get("state")
            ctx.news = News(news.get("signal"), news.get("child"), bool(news.get("timed_out")))
        limits.set(Limits(ctx.cancelled, OUTPUTS * max_bytes))
        config = prepared.config(ctx.scope)
        assert prepared.handler is not None
        return prepared.handler.function(config, ctx)

    def _failure(self, error: BaseException) -> NodeFailure:
        if self.cancelled:
            return CANCELLED
        if self.overdue and not isinstance(error, NodeError):  # a NodeError says it better
            return self.timed_out("")
        failure = failure_of(error)
        if self.overdue and type(error) is NodeError:  # it stopped when it was told to
            failure = failure._replace(type=FailureType.TIMEOUT, message=clean(f"timed out: {failure.message}"))
        if failure.trace is not None:
            ctx = self.ctx
            where = {"execution_id": ctx.execution_id, "node_key": ctx.node_key, "attempt": ctx.attempt}
            _log.warning("handler failed: %s", failure.message, extra={**where, "trace": failure.trace})
        return failure

    def timed_out(self, more: str) -> NodeFailure:
        todo = "it timed out; raise the node's timeout, or make it do less"
        text = f"did not end within {self.task.timeout:g} s{more}: {todo}"
        return NodeFailure(FailureType.TIMEOUT, text, retryable=True)

    def milliseconds(self) -> int:
        """Since it began."""
        return 0 if self.started is None else round((time.monotonic() - self.started) * 1000)


CANCELLED = NodeFailure(FailureType.CANCELLED, "its execution was cancelled", retryable=False)
