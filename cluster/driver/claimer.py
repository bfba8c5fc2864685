"""Takes queued executions under this incarnation's lease, with all that is needed to go on: graphs and checkpoints.

The driver asks for as many executions as it has room for; the claimer looks until it finds some, hands them over as
one ClaimedBatch, and rests until the driver has taken them in and asks again. So it never holds more than was asked.

Where it finds nothing it looks again when hinted at (a notification, a timer that was due), else after a pause. With a
listener the pause is the whole poll interval, a safety net; without one it grows from FIRST_PAUSE to that.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dray.cluster import failpoints, logs
from dray.cluster.driver.committer import LeaseGone
from dray.cluster.driver.large import UNREAD, wanted
from dray.cluster.driver.news import by_execution
from dray.cluster.driver.patience import Patience, Stopped
from dray.cluster.driver.portions import Given, Portion, Row
from dray.cluster.errors import GraphInvalid, Problem
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Graph
from dray.store.driver_store import UNBOUNDED, DriverStore
from dray.store.errors import LeaseLost
from dray.store.listener import CONTROL, Listener
from dray.store.records import Budget, ChildEnd, Claimed, Kind, Signal, StoredOutcome

FIRST_PAUSE = 0.02
LARGE_BATCH = 16  # large outcomes that are loaded at once
MAX_GRAPHS = 500  # compiled workflow versions that are kept

log = logs.get("claimer")


class Found(NamedTuple):
    """One claimed execution. graph: why it cannot be used, where it cannot.

    signals, children: what it may have waited for, where it has waited for such things at all.
    """

    claim: Claimed
    graph: Graph | GraphInvalid
    stored: Sequence[StoredOutcome]
    signals: Sequence[Signal] = ()
    children: Sequence[ChildEnd] = ()


class ClaimedBatch(NamedTuple):
    found: list[Found]


class Claimer(threading.Thread):
    """batch: executions of one claim at most. poll_interval: seconds. notify: takes ClaimedBatch and LeaseGone. budget:
    in bytes, while the driver holds nothing. apart: of which executions the driver wants to begin one at a time."""

    def __init__(
        self,
        store: DriverStore,
        incarnation: str,
        queues: Sequence[str],
        batch: int,
        poll_interval: float,
        listens: bool,
        notify: Callable[[object], None],
        patience: Patience | None = None,
        budget: Budget = UNBOUNDED,
        apart: Callable[[Claimed], bool] = lambda _: False,
    ) -> None:
        super().__init__(name="claimer", daemon=True)
        self._apart = apart
        self._store = store
        self._incarnation = incarnation
        self._queues = list(queues)
        self._batch = batch
        self._poll_interval = poll_interval
        self._listens = listens
        self._listening = False
        self._notify = notify
        self._patience = patience or Patience()
        self._budget = budget
        self._claims = Portion("claim", batch)
        self._loads = Portion("load", batch)
        self._large_loads = Portion("load large outcomes", LARGE_BATCH)
        self._graphs: OrderedDict[int, Graph | GraphInvalid] = OrderedDict()
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._asked = 0  # room in the driver; 0 = not asked
        self._handed_over = False  # a batch that the driver has not taken in yet
        self._hinted = False

    # Called by others

    def ask(self, limit: int, room: int = UNBOUNDED.room) -> None:
        """There is room for so many executions, with inputs of so many bytes."""
        with self._changed:
            if not self._handed_over:
                # Where limits hold, one execution's end lets another start: then more room is a reason to look.
                more = limit > self._asked or room > self._budget.room
                look = not self._asked or (self._store.limited and more)
                self._hinted |= look and bool(self._asked)
                self._asked = limit
                self._budget = self._budget._replace(room=room)
                if look:
                    self._changed.notify()

    @property
    def is_bringing(self) -> bool:
        """Whether executions may be on their way to the driver, or be its already without its knowing."""
        with self._changed:
            return self._handed_over

    def accept(self) -> None:
        """The driver has taken in the batch: from now on it knows its room again."""
        with self._changed:
            self._handed_over = False

    def hint(self) -> None:
        """There may be something: look now."""
        with self._changed:
            self._hinted = True
            self._changed.notify()

    def stop(self) -> None:
        self._ended.set()
        with self._changed:
            self._changed.notify()

    # The thread

    def run(self) -> None:
        pause = 0.0
        try:
            while limit := self._wait(pause):
                found, asked = self._claim(limit)
                pause = self._next_pause(found, asked, pause)
        except Stopped:
            pass
        except LeaseLost as error:
            self._notify(LeaseGone(str(error)))
        except Exception as error:  # the driver must not go on without its claimer
            log.exception("the claimer failed")
            self._notify(LeaseGone(f"the claimer failed: {type(error).__name__}"))

    def _wait(self, pause: float) -> int:
        """How many to claim, once it is time for it; 0 = stop."""
        until = time.monotonic() + pause
        with self._changed:
            while not self._ended.is_set():
                left = until - time.monotonic()
                if self._asked and (self._hinted or left <= 0):
                    self._hinted = False
                    self._handed_over = True  # until the claim is through: what the driver asks meanwhile is not news
                    return min(self._asked, self._batch)
                self._changed.wait(left if self._asked and left > 0 else None)
        return 0

    def _claim(self, limit: int) -> tuple[int, int]:
        """How many were claimed, and how many were asked for."""

        def claim(count: int) -> list[Claimed]:
            return self._store.claim(self._incarnation, self._queues, count, self._budget)

        claimed, asked = self._patience("claim", lambda: self._claims.ask(claim, limit), self._ended)
        if claimed:
            failpoints.hit("after_claim")
            if apart := [each.id for each in claimed if self._apart(each)]:
                self._patience("stand apart", lambda: self._store.stand_apart(self._incarnation, apart), self._ended)
            batch = self._load(claimed)
            failpoints.hit("after_load")
        with self._changed:
            if claimed:
                self._asked = 0
            else:
                self._handed_over = False
        if claimed:
            self._notify(ClaimedBatch(batch))
        return len(claimed), asked

    def _next_pause(self, found: int, limit: int, pause: float) -> float:
        """Seconds until the next look. Whoever waits for work says so in the database, and only then is notified: so
        after saying it, one more look, for what was submitted just before."""
        if found == limit or self._store.more:
            if limit == self._batch:
                self._listen(False)
            return 0.0
        if self._listens:
            if self._listening:
                return self._poll_interval
            self._listen(True)
            return 0.0
        return FIRST_PAUSE if found else min(self._poll_interval, max(FIRST_PAUSE, pause * 1.5))

    def _listen(self, listening: bool) -> None:
        if self._listens and self._listening != listening:
            self._patience("listen", lambda: self._store.set_listening(self._incarnation, listening), self._ended)
            self._listening = listening

    def _loaded(self, call: Callable[[Sequence[Given]], list[Row]], ids: Sequence[Given]) -> list[Row]:
        return self._patience("load", lambda: self._loads.each(call, ids), self._ended)

    def _load(self, claimed: list[Claimed]) -> list[Found]:
        graphs = self._load_graphs({each.workflow_id for each in claimed})
        # Not of what died too often: perhaps it was loading that killed it, and it fails without.
        again = [each.id for each in claimed if each.claim_count > 1 and each.crash_count <= self._budget.crash_limit]
        stored: defaultdict[str, list[StoredOutcome]] = defaultdict(list)
        if again:
            for outcome in self._loaded(self._store.load_checkpoints, again):
                stored[outcome.execution_id].append(outcome)
            for each in claimed:
                if any(outcome.large for outcome in stored.get(each.id, ())):
                    stored[each.id] = self._load_large(graphs[each.workflow_id], stored[each.id])
        found = [Found(each, graphs[each.workflow_id], stored.get(each.id, ())) for each in claimed]
        waited = [key for key, outcomes in stored.items() if any(each.kind == Kind.WAITS_FOR_NEWS for each in outcomes)]
        return self._with_news(found, waited) if waited else found

    def _load_large(self, graph: Graph | GraphInvalid, stored: list[StoredOutcome]) -> list[StoredOutcome]:
        """The same with the large outcomes that something still reads, a few at a time."""
        missing = [] if isinstance(graph, GraphInvalid) else wanted(graph, stored)
        loaded: dict[tuple[str, int], StoredOutcome] = {}
        if missing:
            found = self._patience(
                "load", lambda: self._large_loads.each(self._store.load_outcomes, missing), self._ended
            )
            loaded = {(each.node_key, each.attempt): each for each in found}
        unread = [each._replace(outcome=UNREAD) if each.large else each for each in stored]
        return [loaded.get((each.node_key, each.attempt), each) for each in unread]

    def _with_news(self, found: list[Found], waited: list[str]) -> list[Found]:
        told = self._loaded(lambda some: [self._store.news_of(some)], waited)
        news = by_execution(
            [each for signals, _ in told for each in signals], [each for _, children in told for each in children]
        )
        return [each._replace(**news[each.claim.id]._asdict()) if each.claim.id in news else each for each in found]

    def _load_graphs(self, ids: set[int]) -> dict[int, Graph | GraphInvalid]:
        missing = [each for each in ids if each not in self._graphs]
        if missing:
            for workflow in self._loaded(self._store.load_workflows, missing):
                try:
                    graph: Graph | GraphInvalid = load(workflow.id, workflow.name, workflow.version, workflow.graph)
                except GraphInvalid as error:
                    graph = error
                self._graphs[workflow.id] = graph
        gone = GraphInvalid([Problem("its workflow", "is not in the database any more: submit it again")])
        found = {each: self._graphs.get(each, gone) for each in ids}
        for each in self._graphs.keys() & ids:
            self._graphs.move_to_end(each)
        while len(self._graphs) > MAX_GRAPHS:
            self._graphs.popitem(last=False)
        return found


class ListenThread(threading.Thread):
    """Turns notifications into hints: of work, and of what people asked of executions that are held."""

    def __init__(
        self, listener: Listener, work: Callable[[], None], asked: Callable[[], None], patience: Patience
    ) -> None:
        super().__init__(name="listener", daemon=True)
        self._listener = listener
        self._work = work
        self._asked = asked
        listener.may_connect = patience.may_try
        self._ended = threading.Event()

    def stop(self) -> None:
        self._ended.set()
        self._listener.close()

    def run(self) -> None:
        while not self._ended.is_set():
            if self._listener.wait(60.0):
                self._work()
                if CONTROL in self._listener.said:
                    self._asked()
