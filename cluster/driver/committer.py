"""The group commit: one thread that writes all outcomes gathered since its last transaction in one transaction.

The driver hands over entries in the order of its decisions and gets each back as CommitDone when it is in the
database. The outcomes of one execution are written in that order, so that one which is reported says it of all before
it. While one transaction is under way the next entries pile up, so the batch is as large as the database is
slow, and a lone outcome waits for nothing.

A batch that takes longer than the server lets a statement take is halved, down to one entry.

An execution whose row somebody else keeps locked does not hold up the others: its end is left out, and tried again.

Of an execution that this incarnation does not hold by the claim that the entry is about, the database writes nothing,
and the driver hears NotHeld: whoever holds it goes on with it.

When the database refuses a value, the batch is halved until the execution that holds it stands alone; the other
executions' entries are committed, and the driver hears Refused for the one. Of what it decided before it heard that, no
end of the execution is written, and no node dropped: that took the outcome for stored.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from dray.actors.messages import FailureType
from dray.cluster import failpoints, logs
from dray.cluster.driver.patience import Patience, Stopped
from dray.cluster.driver.portions import Portion
from dray.cluster.execution.commands import error_text
from dray.cluster.execution.run import ExecutionRun
from dray.store.driver_store import NO_CHILD, DriverStore
from dray.store.errors import DataRefused, LeaseLost, TookTooLong, Unavailable
from dray.store.records import Child, Kind, Outcome, Recorded, Settlement, Taken

# Of one transaction. A statement of this size is a few MiB and takes the database some 50 ms.
MAX_ENTRIES = 5_000
MAX_BYTES = 8 << 20
TRY_AGAIN = 0.1  # seconds until the end of an execution is written again whose row was locked

UNTOLD = error_text(FailureType.ERROR_REFUSED, "the database cannot hold this execution's error: see the driver's log")

log = logs.get("committer")


class Entry(NamedTuple):
    """One outcome, or the end of one execution. number: of the outcome, as in Record.

    child: to be started with the outcome. signal: the id of the one that it takes. heard: how many refusals of outcomes
    of this run the driver had heard when it decided this.
    """

    run: ExecutionRun
    outcome: Outcome | None = None
    number: int = 0
    settlement: Settlement | None = None
    child: Child | None = None
    signal: int | None = None
    heard: int = 0


class CommitDone(NamedTuple):
    entries: list[Entry]


class Refused(NamedTuple):
    run: ExecutionRun
    outcome: Outcome
    reason: str
    is_child: bool = False


class NotHeld(NamedTuple):
    """Nothing more of this run will be written: others have its execution, or this incarnation by another claim."""

    run: ExecutionRun


class LeaseGone(NamedTuple):
    """This incarnation may not write any more."""

    reason: str


class Committer(threading.Thread):
    """notify: takes CommitDone, Refused, NotHeld and LeaseGone, in this thread.

    wrote: told of each transaction, how many outcomes it had and how many seconds it took.
    """

    def __init__(
        self,
        store: DriverStore,
        incarnation: str,
        notify: Callable[[object], None],
        wrote: Callable[[int, float], None] = lambda *_: None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(name="committer", daemon=True)
        self._store = store
        self._incarnation = incarnation
        self._notify = notify
        self._wrote = wrote
        self._patience = patience or Patience()
        self._given: list[Entry] = []
        self._locked: list[Entry] = []  # ends of executions whose row somebody else had locked: to be tried again
        self._changed = threading.Condition()
        self._busy = False
        self._ended = threading.Event()
        self._portion = Portion("commit", MAX_ENTRIES)
        self._refused: dict[ExecutionRun, int] = {}  # how many outcomes of each, until its end is written
        self._seldom = logs.Seldom()

    def add(self, entries: list[Entry]) -> None:
        """Have these written, after all that was added before."""
        with self._changed:
            self._given += entries
            self._changed.notify()

    @property
    def idle(self) -> bool:
        """Whether all that was added has been written and reported."""
        with self._changed:
            return not (self._given or self._locked or self._busy)

    def stop(self) -> None:
        """End the thread; what is not written yet is dropped."""
        self._ended.set()
        with self._changed:
            self._changed.notify()

    def run(self) -> None:
        try:
            while batch := self._take():
                self._commit(batch)
                with self._changed:
                    self._busy = False
        except Stopped:
            pass
        except LeaseLost as error:
            self._notify(LeaseGone(str(error)))
        except Exception as error:  # the driver must not go on without its committer
            log.exception("the committer failed")
            self._notify(LeaseGone(f"the committer failed: {type(error).__name__}"))

    def _take(self) -> list[Entry]:
        with self._changed:
            while not self._given and not self._ended.is_set():
                if not self._changed.wait(TRY_AGAIN if self._locked else None):
                    break
            if self._ended.is_set():
                return []
            self._given, self._locked = self._locked + self._given, []
            self._busy = True
            size = count = 0
            most = self._portion.size
            runs: dict[str, ExecutionRun] = {}
            for count, entry in enumerate(self._given, 1):
                if runs.setdefault(entry.run.id, entry.run) is not entry.run:  # another claim of the same execution
                    count -= 1
                    break
                size += len(entry.outcome.outcome or "") if entry.outcome else 0
                size += len(entry.child.input) if entry.child else 0
                if size > MAX_BYTES or count == most:
                    break
            batch, self._given = self._given[:count], self._given[count:]
            return batch

    def _commit(self, batch: list[Entry]) -> None:
        if self._refused:
            batch = [entry for entry in batch if not self._is_void(entry)]
        try:
            self._write(batch)
        except DataRefused as error:
            self._split(batch, error)
        except TookTooLong:
            half = len(batch) // 2
            self._portion.halve(len(batch))
            self._commit(batch[:half])
            self._commit(batch[half:])

    def _is_void(self, entry: Entry) -> bool:
        return entry.heard < self._refused.get(entry.run, 0) and _follows(entry)

    def _done(self, batch: list[Entry]) -> None:
        if self._refused:
            for entry in batch:
                if entry.settlement is not None:
                    self._refused.pop(entry.run, None)
        if batch:
            self._notify(CommitDone(batch))

    def _write(self, batch: list[Entry]) -> None:
        outcomes = [entry.outcome for entry in batch if entry.outcome is not None]
        settlements = [entry.settlement for entry in batch if entry.settlement is not None]
        children = [_child(entry, entry.child) for entry in batch if entry.child is not None]
        taken = [
            Taken(entry.signal, entry.outcome.node_key if entry.outcome else "", entry.run.id)
            for entry in batch
            if entry.signal is not None
        ]
        claims = {entry.run.id: entry.run.claim.claim_count for entry in batch}
        failpoints.hit("before_commit")
        unsure = False

        def write() -> Recorded:
            nonlocal unsure
            try:
                return self._store.commit(self._incarnation, outcomes, settlements, children, taken, claims)
            except Unavailable as error:
                unsure |= error.lost
                raise

        began = time.monotonic()
        settled, refused = self._patience("commit", write, self._ended, TookTooLong if len(batch) > 1 else None)
        self._wrote(len(outcomes), time.monotonic() - began)
        failpoints.hit("after_commit")
        if len(settled) < len(settlements):
            self._locked += [entry for entry in batch if _is_left(entry, settled, refused)]
            batch = [entry for entry in batch if not _is_left(entry, settled, refused)]
        if refused:
            batch = self._without(batch, refused, unsure)
        self._done(batch)

    def _without(self, batch: list[Entry], refused: frozenset[str], unsure: bool) -> list[Entry]:
        """What was written. unsure: so was what gave an execution back, where the try whose answer was lost did it."""
        ended = {entry.run.id for entry in batch if entry.settlement is not None} if unsure else set()
        lost = {entry.run.id: entry.run for entry in batch if entry.run.id in refused and entry.run.id not in ended}
        for run in lost.values():
            self._refused.pop(run, None)
            self._notify(NotHeld(run))
        return [entry for entry in batch if entry.run.id not in lost]

    def _split(self, batch: list[Entry], error: DataRefused) -> None:
        executions = list(dict.fromkeys(entry.run.id for entry in batch))
        if len(executions) > 1:
            first = set(executions[: len(executions) // 2])
            self._commit([entry for entry in batch if entry.run.id in first])
            self._commit([entry for entry in batch if entry.run.id not in first])
        elif len(batch) == 1:
            self._give_up(batch[0], error)
        else:
            self._one_by_one(batch)

    def _one_by_one(self, batch: list[Entry]) -> None:
        """Of one execution: its end is only written if all of its outcomes were."""
        for entry in batch:
            if self._is_void(entry):
                continue
            try:
                self._write([entry])
            except DataRefused as error:
                self._give_up(entry, error)

    def _give_up(self, entry: Entry, error: DataRefused) -> None:
        run = entry.run
        if entry.outcome is not None:
            self._refused[run] = self._refused.get(run, 0) + 1
            if self._seldom((run.id, entry.outcome.node_key)):
                log.warning("outcome refused", execution=run.id, node=entry.outcome.node_key, reason=error.reason)
            is_child = entry.child is not None and error.sqlstate == NO_CHILD
            self._notify(Refused(run, entry.outcome, error.reason, is_child))
            return
        end = entry.settlement
        assert end is not None
        if end.error not in (None, UNTOLD):  # nothing else of it is a text
            self._commit([entry._replace(settlement=end._replace(error=UNTOLD))])
            return
        if self._seldom(run.id):
            log.error("the end of an execution is refused, and tried again", execution=run.id, reason=error.reason)
        self._locked.append(entry)


def _is_left(entry: Entry, settled: frozenset[str], refused: frozenset[str]) -> bool:
    """Whether its end was left out, because somebody who takes his time has the row locked."""
    return entry.settlement is not None and entry.run.id not in settled and entry.run.id not in refused


def _follows(entry: Entry) -> bool:
    """Whether it takes all outcomes before it for stored."""
    return entry.settlement is not None or (entry.outcome is not None and entry.outcome.kind == Kind.DROPPED)


def _child(entry: Entry, child: Child) -> Child:
    """Nobody waits for a child that is started by an outcome which is none of waiting."""
    return child._replace(detached=entry.outcome is None or entry.outcome.kind != Kind.WAITS_FOR_NEWS)
