"""Every statement that a driver makes. Each method is one transaction in one round trip, and may be repeated.

Thread-safe: each call takes a connection of the engine's pool. Errors: StoreError, of which Unavailable means "again
later", and LeaseLost "never again".
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from dray.store.arrays import numbers, texts
from dray.store.connection import connection, mark_stricter, read_committed
from dray.store.errors import DataRefused, LeaseLost, Unavailable
from dray.store.queries import QUERIES
from dray.store.records import (
    Budget,
    Child,
    ChildEnd,
    Claimed,
    Outcome,
    Reaped,
    Recorded,
    Released,
    Settlement,
    Signal,
    StoredOutcome,
    StoredWorkflow,
    Taken,
    queue_stats,
)
from dray.store.schedule_store import ScheduleStore

# The array parameters of commit_if_fenced but its last two, in the order of the fields, and how each is written.
_Columns: TypeAlias = tuple[tuple[str, Callable[[Any], str]], ...]
_OUTCOMES: _Columns = (
    ("execution_ids", texts), ("node_keys", texts), ("attempts", numbers), ("kinds", texts), ("branches", texts),
    ("outcomes", texts), ("waits", numbers), ("runners", numbers), ("durations", numbers),
)  # fmt: skip
_SETTLEMENTS: _Columns = (
    ("settle_ids", texts), ("statuses", texts), ("wake_in", numbers), ("errors", texts), ("claims", numbers),
)  # fmt: skip
_CHILDREN: _Columns = (
    ("child_ids", texts), ("child_parents", texts), ("child_workflows", texts), ("child_versions", numbers),
    ("child_inputs", texts), ("child_detached", numbers),
)  # fmt: skip
_TAKEN: _Columns = (("taken_ids", numbers), ("taken_by", texts))

UNIQUE_VIOLATION = "23505"
READ_ONLY = "25006"
NO_CHILD = "22023"  # of dray.start_children: it says in words why it cannot start one
UNSURE = 60.0  # seconds after a claim whose answer was lost, in which it may still have taken something
UNBOUNDED = Budget()
GIVE_BACK = 1_000  # executions that are taken from an incarnation in one transaction


class DriverStore(ScheduleStore):
    """The database, as a driver needs it: one object for each incarnation. incarnation: uuid text. ttl: seconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}  # what claim() has given and commit() has not settled -> its claim_count
        self._unsure_until = 0.0
        self._unread = False  # an answer of news_of_driver was lost
        self.limited = False  # a claim has met limits: an end may let something start
        self.more = False  # the last claim has not looked at all that may have become free

    def register(self, incarnation: str, ttl: float, info: Mapping[str, Any]) -> None:
        """A new incarnation, with a live lease. info: shown to people; must have pid and host."""
        given = {"driver": incarnation, "ttl": ttl, "pid": info["pid"], "host": info["host"], "info": json.dumps(info)}
        self._ask("register_driver", given)

    def renew(self, incarnation: str, ttl: float) -> bool:
        """Renew the lease; False: it is lost."""
        return bool(self._ask("renew_lease_if_live", {"driver": incarnation, "ttl": ttl}))

    def limit_inputs(self, most: int) -> bool:
        """How many bytes an input may have, in this database; False: it was so already."""
        return bool(self._ask("limit_inputs", {"most": most}))

    def set_listening(self, incarnation: str, listening: bool) -> None:
        """Whether this incarnation waits for a notification."""
        self._ask("set_listening", {"driver": incarnation, "listening": listening})

    def claim(self, incarnation: str, queues: Sequence[str], limit: int, budget: Budget = UNBOUNDED) -> list[Claimed]:
        """Take at most `limit` queued executions. Raises LeaseLost."""
        if time.monotonic() < self._unsure_until and (unheard := self._claim_unheard(incarnation, limit, budget)):
            return unheard
        try:
            rows = self._ask("claim_if_fenced", claim_parameters(incarnation, queues, limit, budget))
        except Unavailable as error:
            if error.lost:
                self._unsure_until = time.monotonic() + UNSURE
            raise
        _check_fence(not rows or rows[0][0], incarnation)
        self.more = any(row[1] is None and row[3] for row in rows)
        self.limited |= any(row[1] is None for row in rows)
        return self._hold(Claimed(*row[1:]) for row in rows if row[1] is not None)

    def _claim_unheard(self, incarnation: str, limit: int, budget: Budget = UNBOUNDED) -> list[Claimed]:
        """What a claim took whose answer was lost; nobody else would ever look at it while this incarnation lives."""
        with self._lock:
            held = list(self._held)
        given = {"driver": incarnation, "held": held, "limit": limit}
        rows = self._ask("claim_unheard", {**given, "budget": budget.most, "crash_limit": budget.crash_limit})
        _check_fence(not rows or rows[0][0], incarnation)
        if rows and rows[-1][1] is None:  # there is more, or somebody has it locked
            self._unsure_until = time.monotonic() + UNSURE
        return self._hold(Claimed(*row[1:]) for row in rows if row[1] is not None)

    def _hold(self, claims: Iterable[Claimed]) -> list[Claimed]:
        found = list(claims)
        with self._lock:
            self._held.update((each.id, each.claim_count) for each in found)
        return found

    def load_checkpoints(self, ids: Sequence[str]) -> list[StoredOutcome]:
        """All that is recorded of these executions, per node in the order of the attempts; large outcomes left out."""
        return [StoredOutcome(*row) for row in self._ask("load_checkpoints", {"ids": list(ids)})]

    def load_outcomes(self, wanted: Sequence[StoredOutcome]) -> list[StoredOutcome]:
        """These, with the outcomes that load_checkpoints left out."""
        given = {
            "ids": [each.execution_id for each in wanted],
            "keys": texts([each.node_key for each in wanted]),
            "attempts": [each.attempt for each in wanted],
        }
        rows = self._ask("load_outcomes", given)
        return [each._replace(outcome=text, large=False) for each, (text,) in zip(wanted, rows, strict=True)]

    def load_workflows(self, ids: Sequence[int]) -> list[StoredWorkflow]:
        return [StoredWorkflow(*row) for row in self._ask("load_workflows", {"ids": list(ids)})]

    def news_of(self, ids: Sequence[str]) -> tuple[list[Signal], list[ChildEnd]]:
        """What these executions may wait for: signals that no node has taken, children that have ended."""
        return _news(self._ask("news_of", {"ids": list(ids)}))

    def news_of_driver(self, incarnation: str) -> tuple[list[Signal], list[ChildEnd]]:
        """The same for what this incarnation holds, where something came since it was claimed or read last."""
        given = {"driver": incarnation, "again": self._unread}
        self._unread = True  # until there is an answer: the marks are taken away along with it
        rows = self._ask("news_of_driver", given)
        self._unread = False
        return _news(rows)

    def place_marks(self, limit: int) -> int:
        """Wake and cancel what could not be at once. Gives how many of such marks are done with."""
        ((done,),) = self._ask("place_marks", {"limit": limit})
        return int(done)

    def commit(
        self,
        incarnation: str,
        outcomes: Sequence[Outcome],
        settlements: Sequence[Settlement],
        children: Sequence[Child] = (),
        taken: Sequence[Taken] = (),
        claims: Mapping[str, int | None] | None = None,
    ) -> Recorded:
        """Record outcomes, start children, take signals and settle executions, all or nothing but for what is refused:
        nothing is written of an execution that this incarnation does not hold by the claim in `claims` (id ->
        claim_count; None: whichever). To those belongs also what an earlier call with a lost answer settled. Raises
        LeaseLost, and DataRefused if a value cannot be stored or a child not be started."""
        held = _claims(outcomes, settlements) if claims is None else dict(claims)
        refused: set[str] = set()
        while True:
            fenced, settled, unheld = self._record(incarnation, outcomes, settlements, children, taken, held)
            _check_fence(fenced, incarnation)
            self._let_go({each: held.pop(each) for each in unheld or ()})
            if not unheld:
                break
            refused.update(unheld)
            outcomes = [each for each in outcomes if each.execution_id not in refused]
            settlements = [each for each in settlements if each.execution_id not in refused]
            children = [each for each in children if each.parent_id not in refused]
            taken = [each for each in taken if each.execution_id not in refused]
            if not outcomes and not settlements:
                break
        self._let_go({each: held[each] for each in settled or ()})
        return Recorded(frozenset(settled or ()), frozenset(refused))

    def _record(
        self,
        incarnation: str,
        outcomes: Sequence[Outcome],
        settlements: Sequence[Settlement],
        children: Sequence[Child],
        taken: Sequence[Taken],
        claims: Mapping[str, int | None],
    ) -> tuple[bool, list[str] | None, list[str] | None]:
        """The answer of commit_if_fenced: fenced, settled, refused."""
        given = commit_parameters(incarnation, outcomes, settlements, children, taken, claims)
        try:
            ((fenced, settled, refused),) = self._ask("commit_if_fenced", {**given, "again": False})
        except DataRefused as error:
            if error.sqlstate != UNIQUE_VIOLATION:
                raise
            ((fenced, settled, refused),) = self._ask("commit_if_fenced", {**given, "again": True})
        return fenced, settled, refused

    def _let_go(self, claims: Mapping[str, int | None]) -> None:
        with self._lock:
            for execution, claim in claims.items():
                if claim in (None, self._held.get(execution)):  # else it has been claimed anew already
                    self._held.pop(execution, None)

    def wake_due(self, limit: int) -> tuple[int, float | None]:
        """Queue at most `limit` executions whose timer is due. Gives how many, and the seconds until the next timer."""
        ((woken, following),) = self._ask("wake_due", {"limit": limit})
        return woken, following

    def controls(self, incarnation: str) -> list[tuple[str, str]]:
        """(execution id, what is asked of it) of what this incarnation holds."""
        return [(row[0], row[1]) for row in self._ask("controls_of_driver", {"driver": incarnation})]

    def end_overdue(self, queues: Sequence[str], fallback: float | None, limit: int) -> int:
        """Fail what has started, is over its time and cannot be claimed; gives how many. fallback: the time in seconds
        where a workflow does not say, None = no limit."""
        given = {"queues": list(queues), "fallback": fallback, "limit": limit}
        ((ended,),) = self._ask("end_overdue", given)
        return int(ended)

    def prune(self, age: float, most: int, behind: str | None) -> tuple[int, str | None]:
        """Delete at most `most` executions that ended more than `age` seconds ago. Gives how many, and behind which one
        to go on; None = that was all."""
        ((deleted, last),) = self._ask("prune", {"age": age, "statuses": None, "most": most, "behind": behind})
        return deleted, last

    def reap(self, most: int = GIVE_BACK) -> list[Reaped]:
        """Requeue what incarnations hold that have ended, at most `most` executions of one of them in a transaction,
        and end them. What somebody keeps locked is left to the next call."""
        found: dict[str, Reaped] = {}
        done: list[str] = []
        while rows := self._ask("reap_next", {"done": done, "most": most}):
            each = Reaped(*rows[0])
            earlier = found.get(each.driver)
            found[each.driver] = each._replace(requeued=each.requeued + (earlier.requeued if earlier else 0))
            if each.requeued < most:
                done.append(each.driver)
        return list(found.values())

    def release(self, incarnation: str, most: int = GIVE_BACK) -> Released | None:
        """The planned end: give everything back, `most` in a transaction, but what somebody keeps locked. None: it had
        been reaped."""
        total = 0
        while True:
            ((moved, has_left),) = self._ask("release", {"driver": incarnation, "most": most})
            if moved is None:
                return None
            total += moved
            if moved < most or not has_left:
                return Released(total, has_left)

    def outlived(self, incarnation: str) -> None:
        """An incarnation that lost its lease, and whose process lives: its end was no crash."""
        self._ask("outlived", {"driver": incarnation})

    def stand_apart(self, incarnation: str, more: Sequence[str], less: str | None = None) -> None:
        """Executions that it holds and has not begun: no crash counts against them. less: one of them begins now."""
        self._ask("stand_apart", {"driver": incarnation, "more": list(more), "less": less})

    def register_runner(self, incarnation: str, node_id: str, host: str, pid: int, name: str) -> int:
        """A runner's id, for Outcome.runner."""
        given = {"driver": incarnation, "node_id": node_id, "host": host, "pid": pid, "name": name}
        ((found,),) = self._ask("register_runner", given)
        return int(found)

    def end_runner(self, runner: int, reason: str) -> None:
        self._ask("end_runner", {"id": runner, "reason": reason})

    def queue_stats(self) -> list[tuple[str, dict[str, int], float]]:
        """(queue, status -> executions, seconds that the oldest queued one has waited); reads what is open only."""
        return [queue_stats(row) for row in self._ask("queue_stats", {})]

    def work_left(self, incarnation: str, queues: Sequence[str], soon: float) -> bool:
        """Whether this incarnation has something to do now or within `soon` seconds."""
        ((left,),) = self._ask("work_left", {"driver": incarnation, "queues": list(queues), "soon": soon})
        return bool(left)

    def open_connections(self) -> int:
        """Those of this process to the database, busy or idle."""
        pool = self._engine.pool
        return pool.checkedin() + pool.checkedout() if isinstance(pool, QueuePool) else 0

    def _ask(self, name: str, given: Mapping[str, Any]) -> list[Any]:
        """The rows of one statement. A bare cursor: it spares SQLAlchemy's work per statement and row."""
        with connection(self._engine) as found:
            bare = found.connection.driver_connection
            assert bare is not None
            try:
                with bare.cursor() as cursor:
                    cursor.execute(read_committed(found, QUERIES[name]), given)
                    return cursor.fetchall() if cursor.description else []
            except psycopg2.Error as error:
                mark_stricter(found, error)
                if bare.closed or error.pgcode == READ_ONLY:  # it leads to a standby, and would for ever
                    found.invalidate()
                    # What ended this connection (a restart, a fail-over) has most likely ended the pool's others too.
                    self._engine.dispose()
                raise


def claim_parameters(incarnation: str, queues: Sequence[str], limit: int, budget: Budget = UNBOUNDED) -> dict[str, Any]:
    given = {"driver": incarnation, "queues": list(queues), "limit": limit}
    return {**given, "budget": budget.most, "room": budget.room, "crash_limit": budget.crash_limit}


def commit_parameters(
    incarnation: str,
    outcomes: Sequence[Outcome],
    settlements: Sequence[Settlement],
    children: Sequence[Child] = (),
    taken: Sequence[Taken] = (),
    claims: Mapping[str, int | None] | None = None,
) -> dict[str, Any]:
    """All of commit_if_fenced but again: one array literal for each column. claims: as DriverStore.commit."""
    held = _claims(outcomes, settlements) if claims is None else claims
    given: dict[str, Any] = {
        "driver": incarnation, "held_ids": texts([*held]), "held_claims": numbers([*held.values()]),
    }  # fmt: skip
    parts: tuple[tuple[_Columns, Sequence[Any]], ...] = (
        (_OUTCOMES, outcomes), (_SETTLEMENTS, settlements), (_CHILDREN, children),
        (_TAKEN, [(each.id, each.node_key) for each in taken]),
    )  # fmt: skip
    for names, rows in parts:
        columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else ((),) * len(names)
        given |= {name: write(column) for (name, write), column in zip(names, columns, strict=True)}
    return given


def _claims(outcomes: Sequence[Outcome], settlements: Sequence[Settlement]) -> dict[str, int | None]:
    """The executions that these are about, each by whichever claim of it, but as its settlement says."""
    found = dict[str, int | None].fromkeys(each.execution_id for each in outcomes)
    return found | {each.execution_id: each.claim for each in settlements}


def _news(rows: Iterable[Sequence[Any]]) -> tuple[list[Signal], list[ChildEnd]]:
    signals, children = [], []
    for execution, number, name, node, payload, child, status, output, error in rows:
        if child is None:
            signals.append(Signal(number, execution, name, node, payload))
        else:
            children.append(ChildEnd(child, execution, status, output, error))
    return signals, children


def _check_fence(fenced: bool, incarnation: str) -> None:
    if not fenced:
        raise LeaseLost(f"the lease of incarnation {incarnation} ran out, so others go on with what it held")
