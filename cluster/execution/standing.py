"""How one claimed execution stands: what is stored of it, taken in, and what it waits for. Pure. What is to be done
about an event is decided in cluster/execution/run.py.

Attempts are numbered by handler calls, 1 for the first. A lost runner, a failure to be retried and an answer that waits
for news use up a number each; the first two are counted apart, against limits of their own. The first start of an
at_most_once node is number 0; each later one, after it has waited for news, uses up a number.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Sequence
from typing import TypeAlias

from dray.actors.messages import NodeTask
from dray.cluster.execution.attempts import Attempts, Policy
from dray.cluster.execution.commands import Begin, NodeDone, NodeLost, Settle
from dray.cluster.execution.ledger import Ledger
from dray.cluster.execution.newsroom import Newsroom, cut_short, dropped
from dray.cluster.execution.scopes import Scopes
from dray.cluster.execution.values import node_task
from dray.cluster.graph.types import NO_GRAPH, Graph
from dray.store.records import Claimed, Kind, Outcome, Settlement, StoredOutcome

Answer: TypeAlias = NodeDone | NodeLost | None
_OVER = Scopes("", NO_GRAPH, 0, 0)


class Standing:
    """closed: settled; every later event is ignored. Nodes are named by slot."""

    __slots__ = (
        "_attempts", "_deadline", "_delayed", "_idle", "_in_doubt", "_jitter", "_ledger", "_lives", "_news",
        "_pausing", "_policy", "_started", "_timeout", "_unstorable", "_waiting", "claim", "closed", "due", "graph",
        "id", "input", "refusals", "scopes", "tasks",
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
        self._ledger = Ledger()
        self._attempts = Attempts()
        self._idle: set[int] = set()  # live nodes that are not on their way
        self._waiting: dict[int, str | None] = {}  # of `due`: done with this output when it is over
        self._delayed: set[int] = set()  # of `due`: failed, and not to be tried sooner, whatever comes
        self._news = Newsroom()
        self._lives: dict[int, float] = {}  # node -> when it has to be over, like `due`; only those with a life
        self._started: set[int] = set()  # at_most_once nodes whose start is recorded, and no answer
        self._in_doubt: set[int] = set()  # those whose start was recorded by an earlier driver, and no answer
        self._pausing = False
        self.refusals = 0  # outcomes that the database has refused
        self._unstorable: set[tuple[str, int]] = set()  # their keys and attempts

    def task(self, number: int, node: int, attempt: int, now: float) -> NodeTask:
        """The message for a runner. number: echoed in the result."""
        what = self.scopes.node(node)
        timeout = self._policy.node_timeout if what.timeout is None or what.life is not None else what.timeout
        if (end := self._lives.get(node, now)) > now:
            timeout = min(timeout, end - now)
        if self._deadline is not None:
            timeout = max(0.001, min(timeout, self._deadline - now))
        news = self._news.text(node)
        return node_task(self.scopes, node, number, self.id, self.graph.name, attempt, timeout, self.input, news)

    # What is stored

    def _take_in(self, event: Begin, now: float) -> list[Outcome]:
        """All that is stored. Gives the outcomes that an earlier driver did not come to record."""
        scopes = self.scopes
        for outcome in event.stored:
            scopes.stored.setdefault(outcome.node_key, []).append(outcome)
        scopes.start()
        while scopes.replay:
            node, outcomes = scopes.replay.popleft()
            if node in scopes.live and (life := scopes.node(node).life) is not None:
                self._lives.setdefault(node, now + life - outcomes[0].age)
            for outcome in outcomes:
                if node in scopes.live:
                    self._fold(node, outcome, now)
        self._forget_dropped()
        self._news.hear(event.signals, event.children)
        self._told((), scopes.live)
        return [*scopes.begun(), *self._news.left(event.stored)]

    def _fold(self, node: int, stored: StoredOutcome, now: float) -> None:
        """Take in one checkpoint. Those of a node come in the order of their attempts, so the last one decides."""
        self._attempts.used(node, stored.attempt)
        if stored.kind != Kind.RUNNER_LOST:  # what it waits for, it does still
            self.due.pop(node, None)
        self._waiting.pop(node, None)
        self._delayed.discard(node)
        self._in_doubt.discard(node)
        wait = stored.wait
        if stored.kind in (Kind.COMPLETED, Kind.WAITS_FOR_TIME, Kind.FAILED, Kind.DROPPED):
            self._news.forget(node)
        if stored.kind in (Kind.COMPLETED, Kind.WAITS_FOR_TIME):
            self._fold_done(node, stored, now)
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
                self._delayed.add(node)
        elif stored.kind == Kind.RUNNER_LOST:
            self._attempts.crashed(node)
        elif stored.kind == Kind.FAILED:
            self._lives.pop(node, None)
            self.scopes.failed(node, stored.outcome or "{}")
        elif stored.kind == Kind.STARTED:
            self._in_doubt.add(node)

    def _fold_done(self, node: int, stored: StoredOutcome, now: float) -> None:
        output = self.input if stored.outcome is None else stored.outcome
        if stored.wait is not None and stored.wait > 0:
            self.due[node] = now + stored.wait
            self._waiting[node] = output
        else:
            self._is_done(node)
            self.scopes.completed(node, output, stored.branch)

    def _forget_dropped(self) -> list[Outcome]:
        """Gives the outcomes that end what they waited for."""
        left: list[Outcome] = []
        for node in self.scopes.dropped:
            self._idle.discard(node)
            self.due.pop(node, None)
            self._waiting.pop(node, None)
            self._delayed.discard(node)
            self._lives.pop(node, None)
            if (key := self._news.forget(node)) is not None:
                left.append(dropped(self.id, key, self._attempts.next(node)))
        self.scopes.dropped.clear()
        return left

    def _is_done(self, node: int) -> None:
        """It has ended, and nothing of how it stood is needed any more."""
        self._attempts.forget(node)
        self._started.discard(node)
        self._lives.pop(node, None)

    def _within_life(self, event: NodeDone, now: float) -> NodeDone:
        """The answer, with a wait that ends with the node's life at the latest."""
        result, end = event.result, self._lives.get(event.node)
        if end is None or (result.wait is None and result.awaits is None):
            return event
        left = max(0.001, end - now)
        if result.wait is not None and result.wait <= left:
            return event
        cut = result._replace(output=None, wait=left, awaits=cut_short(result.awaits or "{}"))
        return event._replace(result=cut)

    def _is_late(self, node: int, life: float, now: float) -> bool:
        """Whether its life is over as it is about to be started. What came before that is still told."""
        end = self._lives.setdefault(node, now + life)
        return self._news.is_over(node) or (end <= now and not self._news.has_found(node))

    def _told(self, stored: Sequence[int], among: Container[int]) -> list[int]:
        """The nodes for which there is news now, and that are to be called for it; but for those of `stored`, which
        their commit has called anyway. among: nodes that are not on their way."""
        told = [node for node in self._news.told(stored, among) if node not in self._delayed]
        for node in told:
            self.due.pop(node, None)
            self._idle.discard(node)
        return [node for node in told if node not in stored]

    # What is kept

    def _settle(self, status: str, wake_in: float | None = None, error: str | None = None) -> Settle:
        self.closed = True
        self.input = ""  # a timer may keep this object until long after
        self.scopes = _OVER
        return Settle(Settlement(self.id, status, wake_in, error, self.claim.claim_count))

    def _outcome(
        self, node: int, attempt: int, kind: Kind, outcome: str | None, event: Answer = None, wait: float | None = None
    ) -> Outcome:
        branch = duration = None
        runner = event.runner if event is not None else None
        if type(event) is NodeDone:
            branch, duration = event.result.branch, event.result.duration_ms
        return Outcome(self.id, self.scopes.key(node), attempt, kind, branch, outcome, wait, runner, duration)
