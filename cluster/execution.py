"""One claimed execution in memory: handle(event) -> commands. Pure: no clock, no I/O, nothing shared.

An active node either waits for a time (`due`) or is on its way: dispatched, or held until the commit that must come
first. When no node is on its way, the execution has no use for this driver: nothing active = completed, everything
active waits = parked.

A node's outcome moves the plan at once, and the nodes that became ready are held until its commit (promise 4). So the
last outcome and the end of the execution are one commit.

Attempts are numbered by handler calls, 1 for the first. A lost runner (kind l) and a failure to be retried (kind r)
use up a number each; they are counted apart, against limits of their own. The start of an at_most_once node (kind s)
is number 0.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from actors.messages import NodeFailure, NodeTask
from cluster.commands import (
    Abandon,
    Begin,
    Command,
    Committed,
    ControlChanged,
    Dispatch,
    Event,
    NodeDone,
    NodeLost,
    OutcomeRefused,
    Record,
    SetTimer,
    Settle,
    TimerDue,
)
from cluster.graph import Graph
from cluster.plan import FAILED, READY, Plan
from store.records import Claimed, Outcome, Settlement, StoredOutcome

TRIGGER = "trigger"


class Policy(NamedTuple):
    """What holds where a node or a graph does not say. Times in seconds; execution_timeout None = no limit.

    crash_limit: runner losses of one node, and driver losses of one execution, beyond which it counts as poison.
    """

    max_retries: int = 3
    retry_delay: float = 1.0
    retry_multiplier: float = 2.0
    retry_max_delay: float = 3600.0
    node_timeout: float = 300.0
    execution_timeout: float | None = None
    crash_limit: int = 3

    def delay(self, failures: int, jitter: float) -> float:
        """Seconds before the next attempt. failures: how many there were, 1 or more. jitter: 0 to 1; half of the delay
        is random, so that what failed together does not come back together."""
        exponent = min(failures - 1, 64)
        longest = min(self.retry_max_delay, self.retry_delay * self.retry_multiplier**exponent)
        return longest * (0.5 + 0.5 * jitter)


class ExecutionRun:
    """One execution that this driver holds. closed: settled; every later event is ignored."""

    __slots__ = (
        "_crashes",
        "_deadline",
        "_failures",
        "_in_doubt",
        "_jitter",
        "_left",
        "_next_attempt",
        "_outputs",
        "_policy",
        "_started",
        "_waiting",
        "claim",
        "closed",
        "due",
        "graph",
        "id",
        "input",
        "plan",
        "tasks",
    )

    def __init__(
        self, claim: Claimed, graph: Graph, policy: Policy, jitter: Callable[[], float] = random.random
    ) -> None:
        self.id = claim.id
        self.claim = claim
        self.graph = graph
        self.plan = Plan(graph)
        self.closed = False
        self.due: dict[int, float] = {}  # node -> when its wait is over, on the clock of handle()'s `now`
        self.tasks: set[int] = set()  # the driver's: numbers of the NodeTasks on their way
        self.input = claim.input or "{}"
        self._policy = policy
        self._jitter = jitter
        self._deadline: float | None = None
        self._outputs: dict[int, str] = {}
        self._left = list(graph.consumers)  # how many nodes still want each output
        self._next_attempt: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._crashes: dict[int, int] = {}
        self._waiting: set[int] = set()  # of `due`: done when it is over; the others start again
        self._started: set[int] = set()  # at_most_once nodes whose start is recorded
        self._in_doubt: list[int] = []  # those whose start was recorded by an earlier driver, and no outcome

    def handle(self, event: Event, now: float) -> list[Command]:
        """What to do about the event. now: seconds on any clock that never goes back."""
        if type(event) is OutcomeRefused:  # its end may have been refused along with it
            return self._refused(event)
        if self.closed:
            return []
        if type(event) is NodeDone:
            return self._done(event, now)
        if type(event) is Committed:
            return self._rest(self._launch(event.nodes, now), now)
        if type(event) is Begin:
            return self._begin(event.stored, now)
        if type(event) is TimerDue:
            return self._due(event.node, now)
        if type(event) is NodeLost:
            return self._lost(event, now)
        assert type(event) is ControlChanged
        return [Abandon(), self._settle("cancelled")]

    def task(self, number: int, node: int, attempt: int, now: float) -> NodeTask:
        """The message for a runner. number: echoed in the result."""
        what = self.graph.nodes[node]
        timeout = what.timeout or self._policy.node_timeout
        if self._deadline is not None:
            timeout = max(0.001, min(timeout, self._deadline - now))
        return NodeTask(
            number,
            what.spec.key,
            self.id,
            what.id,
            attempt,
            timeout,
            self.input if what.needs_input else None,
            self._given(what.needs_nodes),
            tuple(text for _, text in self._given(what.needs_vars)),
            self._given(what.needs_inputs),
            self.graph.name,
        )

    # Beginning

    def _begin(self, stored: Sequence[StoredOutcome], now: float) -> list[Command]:
        if self.claim.crash_count > self._policy.crash_limit:
            message = (
                f"its driver died {self.claim.crash_count} times while it ran this execution: "
                "look at the drivers' logs, then submit it again"
            )
            return [self._settle("failed", error=error_text("poison", message))]
        commands: list[Command] = []
        timeout = self._timeout()
        if timeout is not None:
            self._deadline = now + timeout - self.claim.age
            commands.append(SetTimer(None, max(0.0, self._deadline - now)))
        self.plan.start()
        for outcome in stored:
            self._fold(outcome, now)
        lost = [node for node, state in enumerate(self.plan.state) if state == FAILED and not self.plan.catches(node)]
        if lost:
            return [self._settle("failed", error=self._stored_error(stored, lost[0]))]
        ready = self.plan.ready()  # now: what a failure below makes ready must wait for its commit
        for node in self._in_doubt:
            if self.plan.state[node] == READY and node not in self.due:
                commands += self._fail_lost(node, 1, "its driver stopped", None, now)
                if self.closed:
                    return commands
        ready = [node for node in ready if self.plan.state[node] == READY]
        return self._rest(commands + self._launch(ready, now), now)

    def _fold(self, stored: StoredOutcome, now: float) -> None:
        """Take in one checkpoint. Those of a node come in the order of their attempts, so the last one decides."""
        node = self.graph.index[stored.node_key]
        self._next_attempt[node] = stored.attempt + 1
        self.due.pop(node, None)
        wait = stored.wait or 0.0
        if stored.kind in ("r", "w") and wait > 0:
            self.due[node] = now + wait
        if stored.kind in ("c", "w"):
            self._keep(node, self.input if stored.outcome is None else stored.outcome)
            if node in self.due:
                self._waiting.add(node)
            else:
                self.plan.completed(node, stored.branch)
                self._forget(node)
        elif stored.kind == "r":
            self._failures[node] = self._failures.get(node, 0) + 1
        elif stored.kind == "l":
            self._crashes[node] = self._crashes.get(node, 0) + 1
        elif stored.kind == "f":
            self.plan.failed(node)
        elif stored.kind == "s":
            self._in_doubt.append(node)

    def _stored_error(self, stored: Iterable[StoredOutcome], node: int) -> str | None:
        key = self.graph.nodes[node].id
        return next((each.outcome for each in stored if each.node_key == key and each.kind == "f"), None)

    # Running

    def _launch(self, nodes: Iterable[int], now: float) -> list[Command]:
        """Start nodes, or their timers, now that all that they must wait for is committed."""
        commands: list[Command] = []
        todo = list(nodes)
        for node in todo:  # grows while it is walked
            what = self.graph.nodes[node]
            if node in self.due:
                commands.append(SetTimer(node, max(0.0, self.due[node] - now)))
            elif what.type == TRIGGER:  # done at once: its output is the input, which is stored since submit
                self._keep(node, self.input)
                commands.append(Record(self._outcome(node, 1, "c", None)))
                todo += self.plan.completed(node)
            elif what.at_most_once and node not in self._started:
                self._started.add(node)
                commands.append(Record(self._outcome(node, 0, "s", None), (node,)))
            else:
                commands.append(Dispatch(node, self._next_attempt.get(node, 1), self._is_suspect(node)))
        return commands

    def _done(self, event: NodeDone, now: float) -> list[Command]:
        node, result = event.node, event.result
        if result.failure is not None:
            return self._failed(event, result.failure, now)
        self._keep(node, result.output)
        if result.wait:
            self.due[node] = now + result.wait
            self._waiting.add(node)
            outcome = self._outcome(node, event.attempt, "w", result.output, event, result.wait)
            return self._rest([Record(outcome, (node,))], now)
        ready = self.plan.completed(node, result.branch)
        self._forget(node)
        return self._rest([Record(self._outcome(node, event.attempt, "c", result.output, event), ready)], now)

    def _failed(self, event: NodeDone, failure: NodeFailure, now: float) -> list[Command]:
        node = event.node
        what = self.graph.nodes[node]
        failures = self._failures[node] = self._failures.get(node, 0) + 1
        limit = self._policy.max_retries if what.max_retries is None else what.max_retries
        error = error_text(failure.type, failure.message, what.id)
        if failure.retryable and failures <= limit and not what.at_most_once:
            delay = self._policy.delay(failures, self._jitter())
            self._next_attempt[node] = event.attempt + 1
            self.due[node] = now + delay
            return self._rest([Record(self._outcome(node, event.attempt, "r", error, event, delay), (node,))], now)
        return self._fail(node, self._outcome(node, event.attempt, "f", error, event), now)

    def _lost(self, event: NodeLost, now: float) -> list[Command]:
        node, attempt = event.node, event.attempt
        what = self.graph.nodes[node]
        if what.at_most_once:
            return self._fail_lost(node, attempt, f"its runner was lost ({event.reason})", event, now)
        if not event.crash:
            return [Dispatch(node, attempt, self._is_suspect(node))]
        crashes = self._crashes[node] = self._crashes.get(node, 0) + 1
        if crashes > self._policy.crash_limit:
            error = error_text("poison", f"its runner died {crashes} times, the last time: {event.reason}", what.id)
            return self._fail(node, self._outcome(node, attempt, "f", error, event), now)
        self._next_attempt[node] = attempt + 1
        error = error_text("runner_lost", event.reason, what.id)
        return [Record(self._outcome(node, attempt, "l", error, event), (node,))]

    def _is_suspect(self, node: int) -> bool:
        """Not after one death: all that shared the runner had it too, and must not queue up behind each other."""
        return self._crashes.get(node, 0) > 1

    def _fail_lost(self, node: int, attempt: int, reason: str, by: NodeLost | None, now: float) -> list[Command]:
        message = f"{reason} and it may run at most once: find out whether it took effect"
        error = error_text("runner_lost", message, self.graph.nodes[node].id)
        return self._fail(node, self._outcome(node, attempt, "f", error, by), now)

    def _fail(self, node: int, outcome: Outcome, now: float) -> list[Command]:
        """A failure for good: the error edges take over, else it is the execution's."""
        caught = self.plan.catches(node)
        ready = self.plan.failed(node)
        self._forget(node)
        if caught:
            return self._rest([Record(outcome, ready)], now)
        return [Record(outcome), Abandon(), self._settle("failed", error=outcome.outcome)]

    def _due(self, node: int | None, now: float) -> list[Command]:
        if node is None:
            message = f"the execution took longer than its {self._timeout():g} s: raise its timeout, or the setting"
            return [Abandon(), self._settle("failed", error=error_text("timeout", message))]
        if self.due.pop(node, None) is None:
            return []
        if node not in self._waiting:
            return self._launch((node,), now)
        self._waiting.discard(node)
        ready = self.plan.completed(node)
        self._forget(node)
        return self._rest(self._launch(ready, now), now)

    # Ending

    def _rest(self, commands: list[Command], now: float) -> list[Command]:
        """What to do when no node is on its way: complete, or park until the first wait is over."""
        if self.plan.active > len(self.due):
            return commands
        if not self.plan.active:
            return [*commands, self._settle("completed")]
        wake = min(self.due.values())
        if self._deadline is not None:
            if self._deadline <= now:  # parked, it would be back at once, again and again
                return [*commands, *self._due(None, now)]
            wake = min(wake, self._deadline)
        return [*commands, self._settle("waiting", wake_in=max(0.0, wake - now))]

    def _settle(self, status: str, wake_in: float | None = None, error: str | None = None) -> Settle:
        self.closed = True
        self.input = ""  # a timer may keep this object until long after
        self._outputs.clear()
        return Settle(Settlement(self.id, status, wake_in, error, self.claim.claim_count))

    def _refused(self, event: OutcomeRefused) -> list[Command]:
        """Record the refusal as the node's failure and give the execution back: the plan has gone on as if the outcome
        had been stored, and the next claim begins from what is."""
        refused = event.outcome
        node = refused.node_key.rpartition("/")[2]
        error = error_text("output_refused", f"the database cannot hold its outcome: {event.reason}", node)
        failure = refused._replace(kind="f", branch=None, wait=None, outcome=error)
        return [Record(failure), Abandon(), self._settle("queued")]

    # What is kept

    def _outcome(
        self,
        node: int,
        attempt: int,
        kind: str,
        outcome: str | None,
        event: NodeDone | NodeLost | None = None,
        wait: float | None = None,
    ) -> Outcome:
        branch = duration = runner = None
        if event is not None:
            runner = event.runner
            if type(event) is NodeDone:
                branch, duration = event.result.branch, event.result.duration_ms
        return Outcome(self.id, self.graph.nodes[node].id, attempt, kind, branch, outcome, wait, runner, duration)

    def _keep(self, node: int, output: str | None) -> None:
        if self._left[node]:
            self._outputs[node] = output or "null"

    def _forget(self, node: int) -> None:
        """The node is done: what it was given is kept only as long as others want it."""
        what = self.graph.nodes[node]
        for each in what.reads:
            self._left[each] -= 1
            if not self._left[each]:
                self._outputs.pop(each, None)

    def _given(self, nodes: Iterable[int]) -> tuple[tuple[str, str], ...]:
        """(id, output) of those nodes that completed."""
        return tuple((self.graph.nodes[node].id, self._outputs[node]) for node in nodes if node in self._outputs)

    def _timeout(self) -> float | None:
        return self.graph.timeout or self._policy.execution_timeout


def error_text(kind: str, message: str, node: str | None = None) -> str:
    """An error as it is stored. kind: as NodeFailure.type."""
    error = {"type": kind, "message": message}
    return json.dumps(error if node is None else {**error, "node": node}, ensure_ascii=False)
