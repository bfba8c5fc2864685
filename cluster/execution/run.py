"""One claimed execution in memory: handle(event) -> commands. Pure: no clock, no I/O, nothing shared.

A live node (scopes.py) is on its way, dispatched or held until the commit that must come first; or it is idle: it waits
for a time (`due`), for news, or for the end of a pause. When no node is on its way, the execution has no use for this
driver: nothing live and every node of the root decided = completed, everything live idle = parked.

A node's outcome moves the scopes at once, and the nodes that became live are held until its commit (promise 4). So the
last outcome and the end of the execution are one commit.

Attempts are numbered by handler calls, 1 for the first. A lost runner, a failure to be retried and an answer that waits
for news use up a number each; the first two are counted apart, against limits of their own. The start of an
at_most_once node is number 0.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from dray.actors.messages import FailureType, NodeFailure, NodeTask
from dray.cluster.execution.attempts import Attempts, Policy
from dray.cluster.execution.commands import (
    Abandon,
    Begin,
    Command,
    Committed,
    ControlChanged,
    Dispatch,
    Event,
    News,
    NodeDone,
    NodeLost,
    OutcomeRefused,
    Record,
    SetTimer,
    Settle,
    TimerDue,
    error_text,
)  # fmt: skip
from dray.cluster.execution.newsroom import Newsroom, dropped
from dray.cluster.execution.scopes import Scopes
from dray.cluster.execution.values import node_task
from dray.cluster.graph.types import NO_GRAPH, Graph
from dray.store.records import Child, Claimed, ExecutionStatus, Kind, Outcome, Settlement, StoredOutcome

_Answer: TypeAlias = NodeDone | NodeLost | None
_OVER = Scopes("", NO_GRAPH, 0, 0)


class ExecutionRun:
    """One execution that this driver holds. closed: settled; every later event is ignored. Nodes are named by slot."""

    __slots__ = (
        "_attempts", "_deadline", "_idle", "_in_doubt", "_jitter", "_news", "_pausing", "_policy", "_started",
        "_timeout", "_waiting", "claim", "closed", "due", "graph", "id", "input", "scopes", "tasks",
    )  # fmt: skip

    def __init__(
        self, claim: Claimed, graph: Graph, policy: Policy, jitter: Callable[[], float] = random.random
    ) -> None:
        self.id = claim.id
        self.claim = claim
        self.graph = graph
        self.scopes = Scopes(claim.id, graph, policy.max_iterations, policy.max_output_bytes)
        self.closed = False
        self.due: dict[int, float] = {}  # node -> when its wait is over, on the clock of handle()'s `now`
        self.tasks: dict[int, int] = {}  # the driver's: numbers of the NodeTasks on their way -> node
        self.input = claim.input or "{}"
        self._policy = policy
        self._jitter = jitter
        self._deadline: float | None = None
        self._timeout = graph.timeout or policy.execution_timeout
        self._attempts = Attempts()
        self._idle: set[int] = set()  # live nodes that are not on their way
        self._waiting: dict[int, str | None] = {}  # of `due`: done with this output when it is over
        self._news = Newsroom()
        self._started: set[int] = set()  # at_most_once nodes whose start is recorded
        self._in_doubt: list[int] = []  # those whose start was recorded by an earlier driver, and no outcome
        self._pausing = False

    def handle(self, event: Event, now: float) -> list[Command]:
        """What to do about the event. now: seconds on any clock that never goes back."""
        if type(event) is OutcomeRefused:  # its end may have been refused along with it
            return self._refused(event)
        if self.closed:
            return []
        if type(event) is NodeDone:
            return self._done(event, now)
        if type(event) is Committed:
            return self._rest(self._launch([*event.nodes, *self._told(event.nodes)], now), now)
        if type(event) is Begin:
            return self._begin(event, now)
        if type(event) is TimerDue:
            return self._due(event.node, now)
        if type(event) is NodeLost:
            return self._lost(event, now)
        if type(event) is News:
            return self._heard(event, now)
        assert type(event) is ControlChanged
        return self._controlled(event.control, now)

    def task(self, number: int, node: int, attempt: int, now: float) -> NodeTask:
        """The message for a runner. number: echoed in the result."""
        timeout = self.scopes.node(node).timeout or self._policy.node_timeout
        if self._deadline is not None:
            timeout = max(0.001, min(timeout, self._deadline - now))
        news = self._news.text(node)
        return node_task(self.scopes, node, number, self.id, self.graph.name, attempt, timeout, self.input, news)

    # Beginning

    def _begin(self, event: Begin, now: float) -> list[Command]:
        if (times := self.claim.crash_count) > self._policy.crash_limit:
            message = f"its driver died {times} times while it ran this execution: see its log, then submit it again"
            return [self._settle(ExecutionStatus.FAILED, error=error_text(FailureType.POISON, message))]
        commands: list[Command] = []
        if (timeout := self._timeout) is not None:
            self._deadline = now + timeout - self.claim.age
            commands.append(SetTimer(None, max(0.0, self._deadline - now)))
        scopes = self.scopes
        for outcome in event.stored:
            scopes.stored.setdefault(outcome.node_key, []).append(outcome)
        scopes.start()
        while scopes.replay:
            node, outcomes = scopes.replay.popleft()
            for outcome in outcomes:
                if node in scopes.live:
                    self._fold(node, outcome, now)
        self._forget_dropped()
        self._news.hear(event.signals, event.children)
        self._told()
        commands += [Record(each) for each in (*scopes.begun(), *self._news.left(event.stored))]
        if scopes.failure is not None:
            return [*commands, self._settle(ExecutionStatus.FAILED, error=scopes.failure)]
        ready = sorted(scopes.live)  # now: what a failure below makes live must wait for its commit
        for node in self._in_doubt:
            if node in scopes.live and node not in self.due:
                commands += self._fail_lost(node, 1, "its driver stopped", None, now)
                if self.closed:
                    return commands
        return self._rest(commands + self._launch(ready, now), now)

    def _fold(self, node: int, stored: StoredOutcome, now: float) -> None:
        """Take in one checkpoint. Those of a node come in the order of their attempts, so the last one decides."""
        self._attempts.used(node, stored.attempt)
        self.due.pop(node, None)
        self._waiting.pop(node, None)
        wait = stored.wait
        if stored.kind in (Kind.COMPLETED, Kind.WAITS_FOR_TIME, Kind.FAILED, Kind.DROPPED):
            self._news.forget(node)
        if stored.kind in (Kind.COMPLETED, Kind.WAITS_FOR_TIME):
            output = self.input if stored.outcome is None else stored.outcome
            if wait is not None and wait > 0:
                self.due[node] = now + wait
                self._waiting[node] = output
            else:
                self._attempts.forget(node)
                self.scopes.completed(node, output, stored.branch)
        elif stored.kind == Kind.WAITS_FOR_NEWS:
            self._news.wait(node, stored.node_key, stored.outcome or "{}")
            if wait is not None and wait <= 0:
                self._news.expire(node)
            elif wait is not None:
                self.due[node] = now + wait
        elif stored.kind == Kind.RETRIED:
            self._attempts.failed(node)
            if wait is not None and wait > 0:
                self.due[node] = now + wait
        elif stored.kind == Kind.RUNNER_LOST:
            self._attempts.crashed(node)
        elif stored.kind == Kind.FAILED:
            self.scopes.failed(node, stored.outcome or "{}")
        elif stored.kind == Kind.STARTED:
            self._in_doubt.append(node)

    # Running

    def _launch(self, nodes: Iterable[int], now: float) -> list[Command]:
        """Start nodes, or their timers, now that all that they must wait for is committed."""
        commands: list[Command] = []
        live = self.scopes.live
        todo = list(nodes)
        for node in todo:  # grows while it is walked
            if node not in live:  # it need not run any more
                continue
            if node in self.due:
                self._idle.add(node)
                commands.append(SetTimer(node, max(0.0, self.due[node] - now)))
                continue
            if self._pausing or self._news.waits(node):
                self._idle.add(node)
                continue
            self._idle.discard(node)
            what = self.scopes.node(node)
            if what.builtin:  # done at once; the output of a trigger is the input, which is stored since submit
                is_trigger = what.type == "trigger"
                outcome = self._outcome(node, 1, Kind.COMPLETED, None if is_trigger else "null")
                self.scopes.completed(node, self.input if is_trigger else "null")
                moved = self._moved([Record(outcome)], now, todo)
                commands += moved
                if any(type(each) is Abandon for each in moved):  # a break: what stands before it here is gone
                    commands = [
                        each for each in commands if type(each) is not Dispatch or each.node in self.scopes.live
                    ]
                if self.closed:
                    return commands
            elif what.at_most_once and node not in self._started:
                self._started.add(node)
                commands.append(Record(self._outcome(node, 0, Kind.STARTED, None), (node,)))
            else:
                commands.append(Dispatch(node, self._attempts.next(node), self._attempts.is_suspect(node)))
        return commands

    def _moved(self, records: list[Record], now: float, todo: list[int] | None = None) -> list[Command]:
        """Record what has just moved the scopes, and what it led to; the last record holds back what became live. todo:
        takes that where it need not wait for the commit, because it follows from what is stored already."""
        scopes = self.scopes
        if scopes.ends:
            records += [Record(each) for each in scopes.ends]
            scopes.ends = []
        gone = tuple(scopes.dropped)
        if gone and scopes.failure is None:
            records += [Record(each) for each in self._forget_dropped()]
        fresh, scopes.fresh = scopes.fresh, []
        if todo is not None:
            todo += fresh
        elif fresh:
            records[-1] = records[-1]._replace(then=fresh)
        commands: list[Command] = [*records]
        if scopes.failure is not None:
            return [*commands, Abandon(), self._settle(ExecutionStatus.FAILED, error=scopes.failure)]
        if gone:
            commands.append(Abandon(gone))
            commands += self._launch(self._told(), now)  # what they had heard may be for others
        return commands

    def _forget_dropped(self) -> list[Outcome]:
        """Gives the outcomes that end what they waited for."""
        left: list[Outcome] = []
        for node in self.scopes.dropped:
            self._idle.discard(node)
            self.due.pop(node, None)
            self._waiting.pop(node, None)
            if (key := self._news.forget(node)) is not None:
                left.append(dropped(self.id, key, self._attempts.next(node)))
        self.scopes.dropped.clear()
        return left

    def _done(self, event: NodeDone, now: float) -> list[Command]:
        node, result = event.node, event.result
        if node not in self.scopes.live:
            return []
        if result.failure is not None:
            return self._failed(event, result.failure, now)
        new = result.child
        child = None if new is None else Child(new.id, self.id, new.workflow, new.version, new.input)
        signal = self._news.taken(node)
        if result.awaits is not None:
            return self._waits_for_news(event, result.awaits, child, signal, now)
        if result.wait:
            self.due[node] = now + result.wait
            self._waiting[node] = result.output
            self._idle.add(node)
            outcome = self._outcome(node, event.attempt, Kind.WAITS_FOR_TIME, result.output, event, result.wait)
            return self._rest([Record(outcome, (node,), child, signal)], now)
        outcome = self._outcome(node, event.attempt, Kind.COMPLETED, result.output, event)
        self._attempts.forget(node)
        self.scopes.completed(node, result.output, result.branch)
        return self._rest(self._moved([Record(outcome, (), child, signal)], now), now)

    def _waits_for_news(
        self, event: NodeDone, awaits: str, child: Child | None, signal: int | None, now: float
    ) -> list[Command]:
        node, wait = event.node, event.result.wait
        outcome = self._outcome(node, event.attempt, Kind.WAITS_FOR_NEWS, awaits, event, wait)
        self._attempts.used(node, event.attempt)
        self._attempts.answered(node)
        self._news.wait(node, outcome.node_key, awaits, is_stored=False)
        self._idle.add(node)
        if wait is not None:
            self.due[node] = now + wait
        return self._rest([Record(outcome, (node,), child, signal)], now)

    def _heard(self, event: News, now: float) -> list[Command]:
        self._news.hear(event.signals, event.children)
        return self._rest(self._launch(self._told(), now), now)

    def _told(self, stored: Sequence[int] = ()) -> list[int]:
        """The nodes for which there is news now; but for those of `stored`, which their commit has called anyway."""
        told = self._news.told(stored)
        for node in told:
            self.due.pop(node, None)
            self._idle.discard(node)
        return [node for node in told if node not in stored]

    def _failed(self, event: NodeDone, failure: NodeFailure, now: float) -> list[Command]:
        node = event.node
        what = self.scopes.node(node)
        failures = self._attempts.failed(node)
        limit = self._policy.max_retries if what.max_retries is None else what.max_retries
        error = error_text(failure.type, failure.message, failure.node or what.id)
        if failure.retryable and failures <= limit and not what.at_most_once:
            delay = self._policy.delay(failures, self._jitter(), failure.retry_after)
            self._attempts.used(node, event.attempt)
            self.due[node] = now + delay
            self._idle.add(node)
            retried = self._outcome(node, event.attempt, Kind.RETRIED, error, event, delay)
            return self._rest([Record(retried, (node,))], now)
        return self._fail(node, self._outcome(node, event.attempt, Kind.FAILED, error, event), now)

    def _lost(self, event: NodeLost, now: float) -> list[Command]:
        node, attempt = event.node, event.attempt
        if node not in self.scopes.live:
            return []
        what = self.scopes.node(node)
        if what.at_most_once:
            return self._fail_lost(node, attempt, f"its runner was lost ({event.reason})", event, now)
        if not event.crash:
            return [Dispatch(node, attempt, self._attempts.is_suspect(node))]
        if (crashes := self._attempts.crashed(node)) > self._policy.crash_limit:
            message = f"its runner died {crashes} times, the last time: {event.reason}"
            error = error_text(FailureType.POISON, message, what.id)
            return self._fail(node, self._outcome(node, attempt, Kind.FAILED, error, event), now)
        self._attempts.used(node, attempt)
        error = error_text(FailureType.RUNNER_LOST, event.reason, what.id)
        return [Record(self._outcome(node, attempt, Kind.RUNNER_LOST, error, event), (node,))]

    def _fail_lost(self, node: int, attempt: int, reason: str, by: NodeLost | None, now: float) -> list[Command]:
        message = f"{reason} and it may run at most once: find out whether it took effect"
        error = error_text(FailureType.RUNNER_LOST, message, self.scopes.node(node).id)
        return self._fail(node, self._outcome(node, attempt, Kind.FAILED, error, by), now)

    def _fail(self, node: int, outcome: Outcome, now: float) -> list[Command]:
        """A failure for good: whatever catches it takes over, else it is the execution's."""
        self._attempts.forget(node)
        signal = self._news.taken(node)
        self.scopes.failed(node, outcome.outcome or "{}")
        return self._rest(self._moved([Record(outcome, (), None, signal)], now), now)

    def _due(self, node: int | None, now: float) -> list[Command]:
        if node is None:
            message = f"the execution took longer than its {self._timeout:g} s: raise its timeout, or the setting"
            return [Abandon(), self._settle(ExecutionStatus.FAILED, error=error_text(FailureType.TIMEOUT, message))]
        if self.due.get(node, now + 1) > now or self.due.pop(node, None) is None:
            return []
        self._idle.discard(node)
        if node not in self._waiting:
            self._news.expire(node)
            return self._rest(self._launch((node,), now), now)
        todo: list[int] = []
        self.scopes.completed(node, self._waiting.pop(node))
        commands = self._moved([], now, todo)
        return self._rest(commands + self._launch(todo, now), now)

    def _controlled(self, control: str, now: float) -> list[Command]:
        if control == "pause":
            self._pausing = True
            return self._rest([], now)
        return [Abandon(), self._settle(ExecutionStatus.CANCELLED)]

    # Ending

    def _rest(self, commands: list[Command], now: float) -> list[Command]:
        """What to do when no node is on its way: complete, or park until the first wait is over."""
        live = self.scopes.live
        if self.closed or len(live) > len(self._idle):
            return commands
        if not live:
            bug = self.scopes.undecided()
            return [*commands, self._settle(ExecutionStatus.FAILED if bug else ExecutionStatus.COMPLETED, error=bug)]
        if self._pausing:
            return [*commands, self._settle(ExecutionStatus.PAUSED)]
        times = list(self.due.values())
        if self._deadline is not None:
            if self._deadline <= now:  # parked, it would be back at once, again and again
                return [*commands, *self._due(None, now)]
            times.append(self._deadline)
        return [*commands, self._settle(ExecutionStatus.WAITING, wake_in=max(0.0, min(times) - now) if times else None)]

    def _settle(self, status: str, wake_in: float | None = None, error: str | None = None) -> Settle:
        self.closed = True
        self.input = ""  # a timer may keep this object until long after
        self.scopes = _OVER
        return Settle(Settlement(self.id, status, wake_in, error, self.claim.claim_count))

    def _refused(self, event: OutcomeRefused) -> list[Command]:
        """Record it as the node's failure and give the execution back: the plan went on as if it had been stored."""
        refused = event.outcome
        node = refused.node_key.rpartition("/")[2]
        error = error_text(FailureType.OUTPUT_REFUSED, f"the database cannot hold its outcome: {event.reason}", node)
        failure = refused._replace(kind=Kind.FAILED, branch=None, wait=None, outcome=error)
        return [Record(failure), Abandon(), self._settle(ExecutionStatus.QUEUED)]

    def _outcome(
        self, node: int, attempt: int, kind: Kind, outcome: str | None, event: _Answer = None, wait: float | None = None
    ) -> Outcome:
        runner = event.runner if event is not None else None
        branch, duration = (event.result.branch, event.result.duration_ms) if type(event) is NodeDone else (None, None)
        return Outcome(self.id, self.scopes.key(node), attempt, kind, branch, outcome, wait, runner, duration)
