"""Runs nodes: what is inside a runner process. No Ray, no I/O of its own.

    submit(specs, tasks)    returns at once; plain handlers go to threads, async ones to a loop on a thread of its own
    take()                  what is done since the last take, and why this runner should be replaced, if it should
    cancel(ids)             what waits is dropped, what runs is asked to stop

Every NodeTask has exactly one NodeResult, whatever its handler does (answer.py). A deadline is kept so:

    at the deadline    ctx.cancelled() is true by itself; within TICK the event is set, or the asyncio task cancelled
    GRACE later        the runner answers "timeout" in the handler's place and asks to be retired: a thread cannot be
                       killed, so only the end of the process ends a handler that hears nothing

A handler that blocks the loop it should yield to is found the same way. The others on that loop are innocent: they are
given back, which the pool takes as a planned stop, not as an attempt of theirs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from dray.actors.messages import NodeFailure, NodeResult, NodeSpec, NodeTask
from dray.actors.registry import HANDLERS
from dray.actors.runner.answer import failed
from dray.actors.runner.call import CANCELLED, Call, Gate, Prepared
from dray.actors.runner.loop import LoopThread
from dray.actors.runner.tally import Seen, Tally
from dray.actors.runner.threads import Threads

TICK = 0.05  # seconds between two looks at the deadlines
GRACE = 2.0  # seconds that a handler has to end after it was told
PREPARED = 1_000  # specs kept; some KiB each

_log = logging.getLogger("dray.runner")


class Runner:
    """concurrency: handlers at once, of each kind. max_output_bytes: of one node's output, as JSON.

    on_done: called from any thread when take() has something after it had nothing. counts: whether look() will be
    asked. The threads of a runner are daemons: none keeps the process alive.
    """

    def __init__(
        self, *, concurrency: int, max_output_bytes: int, on_done: Callable[[], None], counts: bool = False
    ) -> None:
        self._concurrency = concurrency
        self._max_bytes = max_output_bytes
        self._on_done = on_done
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()
        self._gates: dict[str, Gate] = {}
        self._lock = threading.Lock()  # of the four below, and of the gates
        self._calls: dict[int, Call] = {}  # not answered yet; who takes a call out answers it
        self._done: list[NodeResult] = []
        self._retiring: str | None = None
        self._tally = Tally() if counts else None
        self._threads = Threads(concurrency, self._run)
        self._loop: LoopThread | None = None  # from the first async handler on
        self._busy = threading.Event()
        self._closed = False
        threading.Thread(target=self._watch, name="deadlines", daemon=True).start()

    @property
    def has_results(self) -> bool:
        return bool(self._done)

    @property
    def unfinished(self) -> int:
        """Calls that have no result yet."""
        return len(self._calls)

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None:
        """specs: at least those that the tasks name."""
        prepared = {spec.key: self._prepare(spec) for spec in specs}
        calls = [Call(task, prepared[task.spec]) for task in tasks]
        with self._lock:
            self._calls.update((call.task.id, call) for call in calls)
            handed = [call for call in calls if _enter(call)]
        self._busy.set()
        self._hand(handed)

    def take(self, max_bytes: int | None = None) -> tuple[list[NodeResult], str | None]:
        """max_bytes: leave the rest for the next take when the outputs exceed it; at least one result is given."""
        with self._lock:
            done = self._done
            count = len(done) if max_bytes is None else _fitting(done, max_bytes)
            self._done = done[count:]
            return (done if count == len(done) else done[:count]), self._retiring

    def look(self) -> Seen:
        """What runs, and what ended since the last look."""
        with self._lock:
            running = sum(call.started is not None for call in self._calls.values())
            return Seen(running, len(self._calls) - running, {} if self._tally is None else self._tally.take())

    def cancel(self, ids: Iterable[int]) -> None:
        """Unknown ids are ignored. A plain handler that does not ask ctx.cancelled() goes on until its deadline."""
        for number in ids:
            call = self._calls.get(number)
            if call is None:
                continue
            call.cancelled = True
            call.ctx.cancel.set()
            if call.started is None:
                self._finish(call, failed(number, CANCELLED))
            elif call.loop is not None:
                call.loop.cancel(call)

    def close(self) -> None:
        """Ask everything to stop and take no more. Waits for nothing."""
        self._closed = True
        self.cancel(list(self._calls.copy()))
        self._threads.stop()
        if self._loop is not None:
            self._loop.stop()
        self._busy.set()

    # Starting

    def _prepare(self, spec: NodeSpec) -> Prepared:
        found = self._prepared.get(spec.key)
        if found is not None and found.spec == spec:
            self._prepared.move_to_end(spec.key)
            return found
        handler = HANDLERS.get(spec.type)
        gate = None
        if handler is not None and handler.concurrency is not None:
            gate = self._gates.setdefault(spec.type, Gate(handler.concurrency))
        found = self._prepared[spec.key] = Prepared(spec, handler, gate)
        if len(self._prepared) > PREPARED:
            self._prepared.popitem(last=False)
        return found

    def _hand(self, calls: Sequence[Call]) -> None:
        plain = [call for call in calls if not call.prepared.is_async]
        if plain:
            self._threads.put(plain)
        if len(plain) < len(calls):
            if self._loop is None:
                self._loop = LoopThread(self._concurrency, self._run_async)
            self._loop.put([call for call in calls if call.prepared.is_async])

    def _run(self, call: Call) -> None:
        if not self._dropped(call):
            self._finish(call, call.run(self._max_bytes))

    async def _run_async(self, call: Call) -> None:
        if not self._dropped(call):
            self._finish(call, await call.run_async(self._max_bytes))

    def _dropped(self, call: Call) -> bool:
        """Whether it was cancelled before it began. `started` is set before the flag is read, and cancel() does it the
        other way round: so one of the two sees the other, and a call is never both dropped and forgotten."""
        call.begin()
        if call.cancelled:
            self._finish(call, failed(call.task.id, CANCELLED))
        return call.cancelled

    def _finish(self, call: Call, result: NodeResult, giving_up: str | None = None) -> bool:
        """Answer for a call; False if somebody did. giving_up: its handler has not ended; why we must retire."""
        with self._lock:
            if self._calls.pop(call.task.id, None) is None:
                return False
            self._done.append(result)
            if self._tally is not None:
                self._tally.add(call.prepared.handler, result)
            if giving_up is not None:
                call.given_up = True
                self._retiring = self._retiring or giving_up
            is_first = len(self._done) == 1
            following = _leave(call)
        if following is not None:
            self._hand([following])
        if is_first:
            self._on_done()
        return True

    # Deadlines

    def _watch(self) -> None:
        while not self._closed:
            self._busy.wait()
            time.sleep(TICK)
            now = time.monotonic()
            for call in self._calls.copy().values():
                if call.started is not None and now >= call.ctx.deadline:
                    try:
                        self._late(call, now)
                    except Exception:  # noqa: BLE001  # a bug of ours: the other deadlines still hold
                        _log.exception("cannot enforce the deadline of %s", call.name)
            if not self._calls:
                self._busy.clear()
                if self._calls or self._closed:  # one came in between
                    self._busy.set()

    def _late(self, call: Call, now: float) -> None:
        if not call.overdue:
            call.overdue = True
            call.ctx.cancel.set()
            if call.loop is not None:
                call.loop.cancel(call)
        elif now < call.ctx.deadline + GRACE:
            pass
        elif call.loop is None:
            self._give_up(call, call.timed_out(" and did not stop when told"))
        elif call.heard_loop:
            self._give_up(call, call.timed_out(" and went on when cancelled"))
        else:
            self._leave_loop(call.loop, call)

    def _give_up(self, call: Call, failure: NodeFailure, reason: str | None = None) -> None:
        reason = reason or f"{call.name} {failure.message.partition(':')[0]}"
        self._desert(call, failed(call.task.id, failure, call.milliseconds()), reason)

    def _desert(self, call: Call, result: NodeResult, reason: str) -> None:
        """Answer for a call whose handler has not ended. reason: why this runner must be replaced."""
        if self._retiring is None:
            _log.error("this runner must be replaced: %s", reason)
        if self._finish(call, result, reason) and call.loop is None:
            self._threads.abandon()

    def _leave_loop(self, loop: LoopThread, late: Call) -> None:
        """The loop is busy with one call and does not get to the others: give that one up if it is its time, and the
        others back. Those that never started go to a new loop."""
        current = loop.current()
        on_loop = [call for call in self._calls.copy().values() if call.loop is loop]
        blocking = next((call for call in on_loop if call.tracked is current), late)
        waiting = loop.abandon()
        if loop is self._loop:
            self._loop = None
        reason = f"{blocking.name} blocks the event loop: it must await what takes time, or be a plain function"
        if blocking.overdue:
            self._give_up(blocking, blocking.timed_out(", without ever yielding to the event loop"), reason)
        for call in on_loop:
            if call.started is None:
                call.loop = None
                waiting.append(call)
            elif call is not blocking:
                self._desert(call, NodeResult(call.task.id, given_back=reason), reason)
        self._hand([call for call in waiting if call.task.id in self._calls])


def _enter(call: Call) -> bool:
    """Past its gate, or in the queue before it."""
    gate = call.prepared.gate
    if gate is not None:
        if gate.inside >= gate.limit:
            gate.waiting.append(call)
            return False
        gate.inside += 1
    call.handed = True
    return True


def _leave(call: Call) -> Call | None:
    """The call that may pass the gate now."""
    gate = call.prepared.gate
    if gate is None:
        return None
    if not call.handed:  # cancelled before its turn
        gate.waiting.remove(call)
        return None
    gate.inside -= 1
    if not gate.waiting:
        return None
    following = gate.waiting.popleft()
    following.handed = True
    gate.inside += 1
    return following


def _fitting(results: Sequence[NodeResult], max_bytes: int) -> int:
    size = 0
    for count, result in enumerate(results):
        size += 100 + len(result.output or result.awaits or "") + (len(result.child.input) if result.child else 0)
        size += len(result.failure.trace or "") if result.failure else 0
        if size > max_bytes and count:
            return count
    return len(results)
