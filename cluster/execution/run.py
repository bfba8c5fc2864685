"""One claimed execution in memory: handle(event) -> commands. Pure: no clock, no I/O, nothing shared.

A live node (scopes.py) is on its way, dispatched or held until the commit that must come first; or it is idle: it waits
for a time (`due`), for news, or for the end of a pause. When no node is on its way, the execution has no use for this
driver: nothing live and every node of the root decided = completed, everything live idle = parked.

A node's outcome moves the scopes at once, and whatever is to be started after that is held until its commit (promise
4, ledger.py). So the last outcome and the end of the execution are one commit.
"""

from __future__ import annotations

from collections.abc import Sequence

from dray.actors.messages import FailureType, NodeFailure
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
    TimerDue,
    error_text,
)  # fmt: skip
from dray.cluster.execution.standing import Standing
from dray.cluster.graph.types import Node
from dray.store.records import Child, ExecutionStatus, Kind, Outcome


class ExecutionRun(Standing):
    """One execution that this driver holds: what to do about what happens."""

    __slots__ = ()

    def handle(self, event: Event, now: float) -> list[Command]:
        """What to do about the event. now: seconds on any clock that never goes back."""
        if type(event) is OutcomeRefused:  # its end may have been refused along with it
            return self._refused(event)
        if self.closed:
            return []
        if type(event) is NodeDone:
            return self._done(event, now)
        if type(event) is Committed:
            free = self._ledger.committed(event.number)
            return self._rest(self._start([*free, *self._told(free, self._idle)], now), now)
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

    def _begin(self, event: Begin, now: float) -> list[Command]:
        if (times := self.claim.crash_count) > self._policy.crash_limit:
            message = f"its driver died {times} times while it ran this execution: see its log, then submit it again"
            return [self._settle(ExecutionStatus.FAILED, error=error_text(FailureType.POISON, message))]
        commands: list[Command] = []
        if (timeout := self._timeout) is not None:
            self._deadline = now + timeout - self.claim.age
            commands.append(SetTimer(None, max(0.0, self._deadline - now)))
        commands += [self._ledger.record(each) for each in self._take_in(event, now)]
        scopes = self.scopes
        if scopes.failure is not None:
            return [*commands, self._settle(ExecutionStatus.FAILED, error=scopes.failure)]
        ready = sorted(scopes.live)
        for node in sorted(self._in_doubt):
            if node in scopes.live:
                commands += self._fail_lost(node, self._attempts.next(node), "its driver stopped", None, now)
                if self.closed:
                    return commands
        return self._rest(commands + self._launch(ready, now), now)

    # Starting

    def _launch(self, nodes: Sequence[int], now: float) -> list[Command]:
        """Start nodes, or their timers, once all that they may follow from is committed."""
        if not nodes:
            return []
        if self._ledger.is_open:
            self._ledger.hold(nodes)
            return []
        return self._start(nodes, now)

    def _start(self, nodes: Sequence[int], now: float) -> list[Command]:
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
            if (self._pausing and node not in self._started) or self._news.waits(node):
                self._idle.add(node)
                continue
            self._idle.discard(node)
            what = self.scopes.node(node)
            if what.builtin:  # done at once; the output of a trigger is the input, which is stored since submit
                is_trigger = what.type == "trigger"
                outcome = self._outcome(node, 1, Kind.COMPLETED, None if is_trigger else "null")
                self.scopes.completed(node, self.input if is_trigger else "null")
                commands += self._moved([self._ledger.derived(outcome)], now, todo)
            elif what.life is not None and self._is_late(node, what.life, now):
                commands += self._moved([self._end_life(node, what)], now, todo)
            elif what.at_most_once and node not in self._started:
                self._started.add(node)
                begun = self._outcome(node, self._attempts.begin(node), Kind.STARTED, None)
                commands.append(self._ledger.record(begun))
                self._ledger.hold((node,))
                continue
            else:
                commands.append(Dispatch(node, self._attempts.next(node), self._attempts.is_suspect(node)))
                continue
            if self.closed:
                return [each for each in commands if type(each) is not Dispatch]
            # Those that it dropped: of a node whose scope is gone nobody can say what it is.
            commands = [each for each in commands if type(each) is not Dispatch or each.node in live]
        return commands

    def _end_life(self, node: int, what: Node) -> Record:
        message = f"timed out: it did not end within {what.life:g} s: raise the node's timeout"
        error = error_text(FailureType.TIMEOUT, message, what.id)
        outcome = self._outcome(node, self._attempts.next(node), Kind.FAILED, error)
        self._is_done(node)
        self._news.forget(node)
        self.scopes.failed(node, error)
        return self._ledger.record(outcome)

    def _moved(self, records: list[Record], now: float, todo: list[int] | None = None) -> list[Command]:
        """Record what has just moved the scopes, and what it led to, and launch what became live. todo: is being
        walked, and takes that where it need not be held."""
        scopes = self.scopes
        if scopes.ends:
            records += [self._ledger.record(each) for each in scopes.ends]
            scopes.ends = []
        gone = tuple(scopes.dropped)
        if gone and scopes.failure is None:
            records += [self._ledger.record(each) for each in self._forget_dropped()]
        commands: list[Command] = [*records]
        if scopes.failure is not None:
            return [*commands, Abandon(), self._settle(ExecutionStatus.FAILED, error=scopes.failure)]
        fresh, scopes.fresh = scopes.fresh, []
        if gone:
            commands.append(Abandon(gone))
            fresh += self._told((), self._idle)  # what they had heard may be for others
        if todo is not None and not self._ledger.is_open:
            todo += fresh
            return commands
        return commands + self._launch(fresh, now)

    # What happens to nodes

    def _done(self, event: NodeDone, now: float) -> list[Command]:
        node, result = event.node, event.result
        if node not in self.scopes.live:
            return []
        if result.failure is not None:
            return self._failed(event, result.failure, now)
        if self._lives:
            event = self._within_life(event, now)
            result = event.result
        new = result.child
        child = None if new is None else Child(new.id, self.id, new.workflow, new.version, new.input)
        signal = self._news.taken(node)
        self._started.discard(node)
        if result.awaits is not None:
            return self._waits_for_news(event, result.awaits, child, signal, now)
        if result.wait:
            self.due[node] = now + result.wait
            self._waiting[node] = result.output
            outcome = self._outcome(node, event.attempt, Kind.WAITS_FOR_TIME, result.output, event, result.wait)
            return self._waits(self._ledger.record(outcome, child, signal), node, now)
        outcome = self._outcome(node, event.attempt, Kind.COMPLETED, result.output, event)
        self._is_done(node)
        self.scopes.completed(node, result.output, result.branch)
        return self._rest(self._moved([self._ledger.record(outcome, child, signal)], now), now)

    def _waits_for_news(
        self, event: NodeDone, awaits: str, child: Child | None, signal: int | None, now: float
    ) -> list[Command]:
        node, wait = event.node, event.result.wait
        outcome = self._outcome(node, event.attempt, Kind.WAITS_FOR_NEWS, awaits, event, wait)
        self._attempts.used(node, event.attempt)
        self._attempts.answered(node)
        self._news.wait(node, outcome.node_key, awaits, is_stored=False)
        if wait is not None:
            self.due[node] = now + wait
        return self._waits(self._ledger.record(outcome, child, signal), node, now)

    def _waits(self, record: Record, node: int, now: float) -> list[Command]:
        """Its timer is set, or it is told its news, once that is committed; unless the execution is parked along with
        it."""
        self._idle.add(node)
        self._ledger.hold((node,))
        return self._rest([record], now)

    def _heard(self, event: News, now: float) -> list[Command]:
        self._news.hear(event.signals, event.children)
        return self._rest(self._launch(self._told((), self._idle), now), now)

    def _failed(self, event: NodeDone, failure: NodeFailure, now: float) -> list[Command]:
        node = event.node
        what = self.scopes.node(node)
        failures = self._attempts.failed(node)
        limit = self._policy.max_retries if what.max_retries is None else what.max_retries
        error = error_text(failure.type, failure.message, failure.node or what.id, failure.trace)
        if failure.retryable and failures <= limit and not what.at_most_once:
            delay = self._policy.delay(failures, self._jitter(), failure.retry_after)
            if node in self._lives:
                delay = max(0.0, min(delay, self._lives[node] - now))
            self._attempts.used(node, event.attempt)
            self.due[node] = now + delay
            self._delayed.add(node)
            retried = self._outcome(node, event.attempt, Kind.RETRIED, error, event, delay)
            return self._waits(self._ledger.record(retried), node, now)
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
        record = self._ledger.record(self._outcome(node, attempt, Kind.RUNNER_LOST, error, event))
        return [record, *self._launch((node,), now)]

    def _fail_lost(self, node: int, attempt: int, reason: str, by: NodeLost | None, now: float) -> list[Command]:
        message = f"{reason} and it may run at most once: find out whether it took effect"
        error = error_text(FailureType.RUNNER_LOST, message, self.scopes.node(node).id)
        return self._fail(node, self._outcome(node, attempt, Kind.FAILED, error, by), now)

    def _fail(self, node: int, outcome: Outcome, now: float) -> list[Command]:
        """A failure for good: whatever catches it takes over, else it is the execution's."""
        self._is_done(node)
        signal = self._news.taken(node)
        self.scopes.failed(node, outcome.outcome or "{}")
        return self._rest(self._moved([self._ledger.record(outcome, None, signal)], now), now)

    def _due(self, node: int | None, now: float) -> list[Command]:
        if node is None:
            message = f"the execution took longer than its {self._timeout:g} s: raise its timeout, or the setting"
            return [Abandon(), self._settle(ExecutionStatus.FAILED, error=error_text(FailureType.TIMEOUT, message))]
        if self.due.get(node, now + 1) > now or self.due.pop(node, None) is None:
            return []
        self._idle.discard(node)
        if node not in self._waiting:
            if node in self._delayed:
                self._delayed.discard(node)
            else:
                self._news.expire(node)
            return self._rest(self._launch((node,), now), now)
        self._lives.pop(node, None)
        self.scopes.completed(node, self._waiting.pop(node))
        return self._rest(self._moved([], now), now)

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

    def _refused(self, event: OutcomeRefused) -> list[Command]:
        """Record the refusal as the node's failure and give the execution back: the plan has gone on as if the outcome
        had been stored, and the next claim begins from what is. Where that failure is refused too, the next claim would
        come to the same again: the execution fails with a text that needs no outcome."""
        refused = event.outcome
        self.refusals += 1
        if (refused.node_key, refused.attempt) in self._unstorable:
            return [Abandon(), self._settle(ExecutionStatus.FAILED, error=event.error)]
        self._unstorable.add((refused.node_key, refused.attempt))
        failure = refused._replace(kind=Kind.FAILED, branch=None, wait=None, outcome=event.error)
        return [self._ledger.record(failure), Abandon(), self._settle(ExecutionStatus.QUEUED)]
