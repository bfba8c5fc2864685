"""The driver: one thread that decides, and a few that do.

Everything that happens arrives in one inbox. A turn takes all that is in it, hands each event to its execution
(ExecutionRun.handle, pure) and gives the commands to the pool and the committer, once per turn. The threads around it:

    claimer        takes executions while there is room            -> ClaimedBatch
    committer      writes outcomes, all that gathered in one go     -> CommitDone, Refused, NotHeld
    lease keeper   renews the lease                                -> LeaseGone
    housekeeper    timers, controls, reaping                       -> Controls
    scheduler      starts what schedules ask for
    clerk          enters runners into the database                -> RunnerEntered
    pool handles   collect from the runners                        -> PoolEvent

A driver is one incarnation. It ends when it is told to drain (what runs may finish and is committed, the rest is given
back), or with LeaseLost, upon which everything in memory is dropped: others have it now. Whoever runs it may then start
another one.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

from dray.actors.messages import FailureType
from dray.actors.pool.pool import Collected, News, Pool, RunnerLost, RunnerReady
from dray.cluster import failpoints, logs
from dray.cluster.driver.claimer import ClaimedBatch, Found
from dray.cluster.driver.clerk import RunnerEntered
from dray.cluster.driver.committer import CommitDone, LeaseGone, NotHeld, Refused
from dray.cluster.driver.ending import release, stop_all
from dray.cluster.driver.hands import Hands
from dray.cluster.driver.holding import Holding, refused
from dray.cluster.driver.housekeeper import Controls
from dray.cluster.driver.observer import Observer, Parts
from dray.cluster.driver.options import Drain, DriverOptions
from dray.cluster.driver.suspects import BeginsAlone, Suspects, is_suspect
from dray.cluster.driver.threads import Threads
from dray.cluster.errors import RunnersMissing
from dray.cluster.execution.commands import (
    Begin,
    Committed,
    Event,
    NodeDone,
    NodeLost,
    OutcomeRefused,
    Settle,
    TimerDue,
    error_text,
)
from dray.cluster.execution.run import ExecutionRun
from dray.cluster.graph.types import Graph
from dray.store.driver_store import DriverStore
from dray.store.errors import LeaseLost
from dray.store.listener import Listener
from dray.store.records import ExecutionStatus, Settlement

EVENTS_PER_TURN = 200  # so that what is decided goes out before too much has piled up
CLAIM_GAP = 0.025  # seconds between two claims of a busy driver that has little room

log = logs.get("driver")


class Driver:
    """One incarnation: run() once, from the thread that decides. The other methods may be called from anywhere.

    earlier: incarnations of this process that lost their lease; taken out once the database knows that it lives.
    make_pool: given the function that takes pool events. listener: None = poll. info: shown beside the lease.
    """

    def __init__(
        self,
        incarnation: str,
        store: DriverStore,
        make_pool: Callable[[Callable[[Any], None]], Pool],
        listener: Listener | None,
        options: DriverOptions,
        info: dict[str, Any],
        observer: Observer | None = None,
        earlier: list[str] | None = None,
    ) -> None:
        self._earlier = [] if earlier is None else earlier
        self._suspects = Suspects()
        self.incarnation = incarnation
        self._store = store
        self._options = options
        self._info = info
        self._observer = observer or Observer()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._make_pool = make_pool
        self._listener = listener
        self._runs = Holding()
        self._hands = Hands(options.default_shape)
        self._early: set[str] = set()  # told of while the claimer may have been bringing them
        self._last_claim = 0.0
        self._ask_at: float | None = None  # when to ask for more, where that was put off
        self._drain_until: float | None = None
        self._missing: str | None = None  # why there are no runners, once what is held was given back for it
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            Collected: self._on_pool,
            CommitDone: self._on_commit,
            ClaimedBatch: self._on_claimed,
            RunnerReady: self._on_pool,
            RunnerLost: self._on_pool,
            RunnerEntered: lambda event, _: self._pool.admit(event.runner, event.db_id),
            BeginsAlone: self._on_begins_alone,
            Refused: self._on_refused,
            NotHeld: self._on_not_held,
            Controls: self._on_controls,
            Drain: self._on_drain,
            LeaseGone: self._on_lease_gone,
        }

    def drain(self, at_once: bool = False) -> None:
        """Stop claiming, let running nodes finish for at most drain_timeout, give everything back, end run()."""
        self._inbox.put(Drain(at_once))

    def run(self, on_started: Callable[[], None] = lambda: None, on_turn: Callable[[], None] = lambda: None) -> None:
        """Drive until drained. on_started: called once the lease is there and the threads run. on_turn: after each.

        Raises LeaseLost, Unavailable if the database is away just at the start, StoreError where it refuses for good,
        RunnersMissing once all is given back because no runner starts here.
        """
        options, put = self._options, self._inbox.put
        registered = time.monotonic()
        self._store.register(self.incarnation, options.lease_ttl, self._info)
        while self._earlier:
            self._store.outlived(self._earlier[-1])
            self._earlier.pop()
        self._pool = self._hands.pool = self._make_pool(put)
        threads = Threads(self._store, self.incarnation, options, self._listener, registered, put, self._observer.wrote)
        self._clerk, self._committer, self._claimer = threads.clerk, threads.committer, threads.claimer
        self._keeper, self._housekeeper = threads.keeper, threads.housekeeper
        released = False
        parts = Parts(self._pool, threads, self._hands.timers, self._runs, self._hands.tasks)
        self._observer.begin(self.incarnation, options.lease_ttl, parts)
        try:
            threads.start()
            self._pool.start()
            on_started()
            while not self._drained():
                self._turn()
                on_turn()
            failpoints.hit("before_release")
            self._claimer.stop()
            self._claimer.join()  # what it claims after the release would be nobody's
            released = release(self._store, self.incarnation, self._options.lease_ttl)
            if self._missing is not None:
                raise RunnersMissing(self._missing)
        finally:
            stop_all([threads, self._pool])
            threads.join()
            log.info("driver ended", incarnation=self.incarnation, released=released)

    # A turn

    def _turn(self) -> None:
        now = time.monotonic()
        try:
            event = self._inbox.get(timeout=self._patience(now))
            now = time.monotonic()
            self._handlers[type(event)](event, now)
            for _ in range(EVENTS_PER_TURN):
                event = self._inbox.get_nowait()
                self._handlers[type(event)](event, now)
        except queue.Empty:
            now = time.monotonic()
        # The keeper may still wait for the answer to its last renewal.
        if time.monotonic() >= self._keeper.trusted_until:
            self._on_lease_gone(LeaseGone("no renewal was answered in time"), now)
        for run, node in self._hands.timers.due(now):
            self._handle(run, TimerDue(node), now)
        if self._hands.entries:  # first: a Ray call takes 0.3 ms, in which the commit is under way already
            self._committer.add(self._hands.entries)
            self._hands.entries = []
        self._pool.tick(now)
        self._pool.flush()
        failpoints.hit("after_dispatch")
        self._ask_for_more(now)
        self._observer.turn(now)

    def _patience(self, now: float) -> float:
        """Seconds to wait for an event, at most: until the next timer of any kind."""
        times = [now + 1.0, self._pool.wake_at(), self._hands.timers.next, self._drain_until, self._ask_at]
        return max(0.0, min(each for each in times if each is not None) - now)

    def _ask_for_more(self, now: float) -> None:
        self._ask_at = None
        if not self._pool.default.proved:  # what it took, a driver whose runners start could do
            self._pool.default.prove()
            return
        if (alone := self._suspects.next(self._runs, not self._runs)) is not None and self._drain_until is None:
            self._clerk.begin_alone(alone)
        if self._suspects.keep_others_out:
            return
        room = self._options.concurrency - len(self._runs)
        bytes_left = self._options.held_bytes - self._runs.bytes
        if room <= 0 or bytes_left <= 0 or self._drain_until is not None or self._pool.backlog > self._pool.capacity:
            return
        # A busy driver with little room waits a moment for more of it: one claim per 100 executions, not per one.
        worth_it = room * 2 >= min(self._options.claim_batch, self._options.concurrency)
        at = self._last_claim + CLAIM_GAP
        if worth_it or now >= at:
            self._claimer.ask(room, bytes_left)
        else:
            self._ask_at = at

    # Events

    def _on_claimed(self, batch: ClaimedBatch, now: float) -> None:
        self._claimer.accept()
        self._last_claim = now
        self._observer.takes(len(batch.found))
        for found in batch.found:
            if (end := refused(found, self._options)) is not None:
                self._runs.add(end.run, found)
                self._hands.entries.append(end)
                continue
            if is_suspect(found.claim, self._options):
                self._suspects.waiting.append(found)
            else:
                self._begin(found, now)
        if self._early:
            self._housekeeper.look_again(self._early)
            self._early = set()
        failpoints.hit("after_plan")

    def _begin(self, found: Found, now: float) -> None:
        assert isinstance(found.graph, Graph)
        if (earlier := self._runs.get(found.claim.id)) is not None:
            self._drop(earlier)  # of a claim that is over: nothing more of it would be written
        run = ExecutionRun(found.claim, found.graph, self._options.policy)
        self._runs.add(run, found)
        self._handle(run, Begin(found.stored, found.signals, found.children), now)

    def _on_begins_alone(self, event: BeginsAlone, now: float) -> None:
        self._begin(event.found, now)
        self._suspects.begins()

    def _on_pool(self, event: Any, now: float) -> None:
        news = self._pool.handle(event)
        self._observer.pool_news(news)
        if news.results:
            failpoints.hit("after_collect")
        for runner, result in news.results:
            task = self._hands.tasks.pop(result.id, None)
            if task is not None:
                run, node, attempt = task
                self._observer.collected(run.scopes.node(node).type, result)
                run.tasks.pop(result.id, None)
                self._handle(run, NodeDone(node, attempt, result, runner), now)
        for number, reason, crash in news.lost:
            task = self._hands.tasks.pop(number, None)
            if task is not None:
                run, node, attempt = task
                run.tasks.pop(number, None)
                self._handle(run, NodeLost(node, attempt, reason, crash, news.runner), now)
        self._book(news)

    def _on_commit(self, event: CommitDone, now: float) -> None:
        latest: dict[ExecutionRun, int] = {}
        for run, _, number, settlement, *_ in event.entries:
            if settlement is not None:
                self._runs.forget(run)
                self._observer.ended(run, settlement)
            elif number:
                latest[run] = number
        for run, number in latest.items():
            if not run.closed:
                self._handle(run, Committed(number), now)

    def _on_refused(self, event: Refused, now: float) -> None:
        self._handle(event.run, OutcomeRefused(event.outcome, event.reason, event.is_child), now)

    def _on_not_held(self, event: NotHeld, now: float) -> None:
        run = event.run
        log.warning("dropped an execution that this claim does not hold", execution=run.id, claim=run.claim.claim_count)
        self._drop(run)
        self._runs.forget(run)

    def _drop(self, run: ExecutionRun) -> None:
        if not run.closed:  # nothing of it is written, repeated or failed
            self._hands.let_go(run)

    def _on_controls(self, event: Controls, now: float) -> None:
        for execution, each in event.told:
            run = self._runs.get(execution)
            if run is not None:
                self._handle(run, each, now)
            elif self._claimer.is_bringing:  # what is told once would be lost
                self._early.add(execution)

    def _on_drain(self, event: Drain, now: float) -> None:
        if self._drain_until is None:
            self._drain_until = now + self._options.drain_timeout
            self._hands.draining = True
            self._observer.drains()
            # A node that may run once at most and has started must run now: the next driver would fail it.
            once = [each for each, (run, node, _) in self._hands.tasks.items() if run.scopes.node(node).at_most_once]
            self._pool.drain(set(once))
            log.info("draining", executions=len(self._runs), nodes=len(self._hands.tasks))
        if event.at_once:
            self._drain_until = now

    def _on_lease_gone(self, event: LeaseGone, now: float) -> None:
        log.error("the lease is lost", incarnation=self.incarnation, reason=event.reason, executions=len(self._runs))
        raise LeaseLost(event.reason)

    # Commands

    def _handle(self, run: ExecutionRun, event: Event, now: float) -> None:
        try:
            self._hands.carry_out(run, run.handle(event, now), now)
        except Exception as error:  # a bug of ours: this execution fails, the others go on
            log.exception("cannot go on with an execution", execution=run.id, workflow=run.graph.name)
            self._hands.let_go(run)
            text = error_text(
                FailureType.INTERNAL, f"a bug of Dray, see the driver's log: {type(error).__name__}: {error}"
            )
            end = Settlement(run.id, ExecutionStatus.FAILED, None, text, run.claim.claim_count)
            self._hands.carry_out(run, [Settle(end)], now)

    # Runners

    def _book(self, news: News) -> None:
        for runner, info in news.ready:
            self._clerk.enter(runner, info)
        for db_id, reason in news.ended:
            self._clerk.leave(db_id, reason)

    def _drained(self) -> bool:
        if self._drain_until is None:
            if not self._pool.default.lacks(time.monotonic()) or self._pool.in_flight:
                return False
            self._missing = self._pool.default.trouble
            return True
        if time.monotonic() >= self._drain_until:
            log.warning("drain timeout: giving back what still runs", nodes=len(self._hands.tasks))
            return True
        return (
            not self._pool.in_flight
            and not self._pool.waiting
            and not self._hands.entries
            and self._committer.idle
            and self._inbox.empty()
        )
