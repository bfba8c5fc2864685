"""Runs handlers in one process, and answers for each of them whatever it does.

Sync handlers run in threads. The waiting ones stand in one line that a thread empties without asking anybody: one
wake-up for a batch, and no future for a node. While the line moves, one thread does it all (handlers that only compute
gain nothing from more); when it does not move, because the threads are inside handlers that wait, more threads join,
twice as many each time. Async handlers run on an event loop in its own thread.

A watcher keeps the time. A handler over its deadline is told to stop (ctx.cancelled(), or CancelledError); if it does
not within GRACE, its node fails with a time-out all the same, its thread or loop is given up, and the runner asks to
be retired, since Python cannot end a thread.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from actors.context import NodeContext
from actors.messages import NodeFailure, NodeResult, NodeSpec, NodeTask
from actors.prepared import Prepared, PreparedSpecs, as_failure, context_of, result_of, since

GRACE = 1.0  # seconds that a handler has to stop after its deadline
STALLED = 0.002  # seconds without a move of the line, after which more threads join
WATCH = 0.05  # seconds between two looks at deadlines


class _Node:
    """One node in this runner. deadline: once its handler runs. over: it has been answered for."""

    __slots__ = ("cancelled", "context", "coroutine", "deadline", "over", "prepared", "started", "task", "timed_out")

    def __init__(self, task: NodeTask, prepared: Prepared) -> None:
        self.task = task
        self.prepared = prepared
        self.context: NodeContext | None = None
        self.coroutine: asyncio.Task[None] | None = None
        self.started = 0.0
        self.deadline: float | None = None
        self.cancelled = False
        self.timed_out = False
        self.over = False


class Runner:
    """concurrency: sync handlers at once. on_done: called from any thread when there is something to take()."""

    def __init__(self, *, concurrency: int, max_output_bytes: int, on_done: Callable[[], None]) -> None:
        self._concurrency = concurrency
        self._max_output_bytes = max_output_bytes
        self._on_done = on_done
        self._told = False
        self._specs = PreparedSpecs()
        self._nodes: dict[int, _Node] = {}
        self._results: deque[NodeResult] = deque()
        self._retiring: str | None = None
        self._closed = False
        self._line: deque[_Node] = deque()
        self._moved = 0
        self._threads = 0
        self._stuck = 0
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._gates: dict[str, _Gate] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work_to_watch = threading.Event()
        threading.Thread(target=self._watch, name="watcher", daemon=True).start()

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None:
        """Take in nodes; returns at once. specs: of all these tasks, each once."""
        prepared = {spec.key: self._specs.get(spec) for spec in specs}
        ready: list[_Node] = []
        for task in tasks:
            node = self._nodes[task.id] = _Node(task, prepared[task.spec])
            handler = node.prepared.handler
            if handler is None or handler.concurrency is None or self._gate(node).enter(node):
                ready.append(node)
        self._begin(ready)

    def take(self) -> tuple[list[NodeResult], str | None]:
        """All that is done since the last take, and why this runner must be retired (None = it is healthy)."""
        self._told = False  # first: what is done from here on is told again
        results = []
        while True:
            try:
                results.append(self._results.popleft())
            except IndexError:
                return results, self._retiring

    def cancel(self, ids: Iterable[int]) -> None:
        """Ask these to stop. Each still gets a result."""
        for each in ids:
            node = self._nodes.get(each)
            if node is not None:
                node.cancelled = True
                if node.context is not None:
                    node.context.cancel.set()
                if node.coroutine is not None and self._loop is not None:
                    self._loop.call_soon_threadsafe(node.coroutine.cancel)

    def close(self) -> None:
        """End the threads that are not inside a handler; what is unfinished gets no result."""
        self._closed = True
        self._line.clear()
        for _ in range(self._threads):
            self._wake.put(False)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._work_to_watch.set()

    # Starting

    def _begin(self, nodes: Iterable[_Node]) -> None:
        asynchronous: list[_Node] = []
        for node in nodes:
            if node.prepared.failure is not None:
                self._answer(node, NodeResult(node.task.id, failure=node.prepared.failure))
            elif node.prepared.handler is not None and node.prepared.handler.is_async:
                asynchronous.append(node)
            else:
                self._line.append(node)
        if self._line:
            if not self._threads:
                self._add_threads(1)
            self._wake.put(True)
        if asynchronous:
            self._running_loop().call_soon_threadsafe(self._start_coroutines, asynchronous)
        self._work_to_watch.set()

    def _gate(self, node: _Node) -> _Gate:
        handler = node.prepared.handler
        assert handler is not None
        gate = self._gates.get(handler.type)
        if gate is None:
            gate = self._gates[handler.type] = _Gate(handler.concurrency or 1)
        return gate

    def _add_threads(self, count: int) -> None:
        for _ in range(min(count, self._concurrency + self._stuck - self._threads)):
            self._threads += 1
            threading.Thread(target=self._work, name=f"handler {self._threads}", daemon=True).start()

    # Sync handlers

    def _work(self) -> None:
        while self._wake.get():
            while not self._closed:
                try:
                    node = self._line.popleft()
                except IndexError:
                    break
                self._moved += 1
                if not self._run(node):
                    return  # this thread was given up long ago, and replaced

    def _run(self, node: _Node) -> bool:
        """Run one sync handler to its end; False if it was given up meanwhile."""
        started = node.started = time.monotonic()
        task = node.task
        try:
            context = self._enter(node, started)
            handler = node.prepared.handler
            assert handler is not None
            answer = handler.function(node.prepared.config(context.scope), context)  # type: ignore[arg-type]
            result = result_of(task.id, answer, started, self._max_output_bytes)
        except BaseException as error:  # noqa: BLE001  # a handler may raise anything, SystemExit included
            result = self._failed(node, error)
        return self._answer(node, result)

    def _enter(self, node: _Node, started: float) -> NodeContext:
        deadline = started + node.task.timeout
        context = node.context = context_of(node.task, deadline)
        node.deadline = deadline
        if node.cancelled:
            raise _Cancelled
        return context

    # Async handlers

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="async handlers", daemon=True).start()
        return self._loop

    def _start_coroutines(self, nodes: Sequence[_Node]) -> None:
        for node in nodes:
            node.coroutine = asyncio.ensure_future(self._run_async(node))

    async def _run_async(self, node: _Node) -> None:
        started = node.started = time.monotonic()
        try:
            context = self._enter(node, started)
            handler = node.prepared.handler
            assert handler is not None
            answer = await handler.function(node.prepared.config(context.scope), context)  # type: ignore[arg-type]
            result = result_of(node.task.id, answer, started, self._max_output_bytes)
        except BaseException as error:  # noqa: BLE001  # as above
            result = self._failed(node, error)
        self._answer(node, result)

    # Ending

    def _failed(self, node: _Node, error: BaseException) -> NodeResult:
        if node.timed_out or (node.deadline is not None and time.monotonic() >= node.deadline):
            failure = _timeout(node.task)
        elif node.cancelled or isinstance(error, _Cancelled):
            failure = NodeFailure("cancelled", "the execution was cancelled", retryable=False)
        else:
            failure = as_failure(error)
        return NodeResult(node.task.id, failure=failure, duration_ms=since(node.started))

    def _answer(self, node: _Node, result: NodeResult) -> bool:
        """Hand over the result, once; False if the node has been answered for already."""
        if self._nodes.pop(node.task.id, None) is None:
            return False
        node.over = True
        self._results.append(result)
        if not self._told:
            self._told = True
            self._on_done()
        handler = node.prepared.handler
        if handler is not None and handler.concurrency is not None:
            following = self._gate(node).leave()
            if following is not None:
                self._begin([following])
        return True

    # Watching

    def _watch(self) -> None:
        more = 1
        while not self._closed:
            if not self._nodes:
                self._work_to_watch.clear()
                if not self._nodes:
                    self._work_to_watch.wait()
            moved = self._moved
            time.sleep(STALLED if self._line else WATCH)
            if self._line and moved == self._moved:
                self._add_threads(more)
                for _ in range(more):
                    self._wake.put(True)
                more = min(2 * more, self._concurrency)
            else:
                more = 1
            self._enforce_deadlines(time.monotonic())

    def _enforce_deadlines(self, now: float) -> None:
        for node in list(self._nodes.values()):
            if node.deadline is None or now < node.deadline:
                continue
            if not node.timed_out:
                node.timed_out = True
                if node.context is not None:
                    node.context.cancel.set()
                if node.coroutine is not None and self._loop is not None:
                    self._loop.call_soon_threadsafe(node.coroutine.cancel)
            elif now >= node.deadline + GRACE:
                self._give_up(node)

    def _give_up(self, node: _Node) -> None:
        """Answer for a handler that does not stop. All that waits for its loop is lost with it, in time."""
        name = f"{node.prepared.type} handler of {node.task.execution_id}/{node.task.node_key}"
        self._retiring = self._retiring or f"the {name} did not stop {GRACE:g} s after its time-out"
        if node.coroutine is None:
            self._stuck += 1
        self._answer(node, NodeResult(node.task.id, failure=_timeout(node.task), duration_ms=since(node.started)))


class _Cancelled(Exception):
    """The node was cancelled before its handler began."""


class _Gate:
    """Lets so many nodes of one type run at once; the others wait in order."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[_Node] = deque()
        self._lock = threading.Lock()

    def enter(self, node: _Node) -> bool:
        """Whether it may start now; else leave() of another will let it in."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            self._waiting.append(node)
            return False

    def leave(self) -> _Node | None:
        """One has ended; the one that may start in its place."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._free += 1
            return None


def _timeout(task: NodeTask) -> NodeFailure:
    message = f"did not end within {task.timeout:.3g} s: raise the node's timeout, or make it do less"
    return NodeFailure("timeout", message, retryable=True)
