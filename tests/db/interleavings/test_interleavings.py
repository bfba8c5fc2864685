"""Every order in which two transactions can meet, and many of three: afterwards the history must be a possible one, no
limit is exceeded, whatever was answered holds, and all that can end does end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import psycopg2
import pytest
from sqlalchemy import Engine

from dray.cluster.cli.history import judge, lines
from dray.cluster.history.judge import Question
from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.driver_store import UNIQUE_VIOLATION, DriverStore
from dray.store.records import Kind, Outcome, Settlement
from tests.chaos.transitions import LOG, READ, judge_transitions
from tests.db.interleavings.statements import STATEMENTS, apply, set_up, transaction
from tests.db.interleavings.stepping import Ran, Session, Transaction, orders, run
from tests.pg import Sql, a_database

LAST = "00000000-0000-0000-0000-000000000004"  # the driver that finishes
TRIPLES = 120
LOCK_NOT_AVAILABLE = "55P03"
PATIENT = {"wake", "news", "marks"}  # those that wait for nobody
RECOVERY = {"reap", "release"}  # those that wait for no user
USERS = {"signal", "cancel", "pause", "resume", "limit", "submit"}
LIMITS = """
    SELECT count(*) FILTER (WHERE gate = 'narrow') <= 1, count(*) FILTER (WHERE queue = 'small') <= 1
    FROM dray.execution WHERE status = 'running'
"""
WRITTEN = """
    SELECT count(*) FROM dray.checkpoint WHERE execution_id = %s AND (node_key, attempt) IN (('wait', 2), ('b', 1))
"""


class Meeting:
    """One database, its connections, and what is asked of every meeting."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = connect(url, pool_size=2)
        self.store = DriverStore(self.engine)
        Sql(self.engine)(LOG)
        apply(Client(self.engine))
        self._own = psycopg2.connect(url.replace("+psycopg2", ""))
        self._own.autocommit = True
        self.monitor = self._own.cursor()
        self.sessions = [Session(url, f"session {number}") for number in (1, 2, 3)]

    def close(self) -> None:
        for each in self.sessions:
            each.close()
        self._own.close()
        self.engine.dispose()

    def meet(self, names: Sequence[str], ends: Sequence[str], order: Sequence[int]) -> None:
        ids = set_up(self.monitor)
        given = [transaction(name, ids, end) for name, end in zip(names, ends, strict=True)]
        ran = run(self.sessions, self.monitor, given, order)
        told = "\n".join(["", f"order {order}", *map(str, ran), ""])
        recovers = sum(each in RECOVERY for each in names) == 1 and USERS.issuperset({*names} - RECOVERY)
        patient = PATIENT | RECOVERY if recovers else PATIENT
        waited = [each for each in ran if each.waited and each.what in patient]
        assert not waited, f"it waits for somebody who thinks: {told}"
        allowed = {None, LOCK_NOT_AVAILABLE}
        if sum(each in COMMITS for each in names) > 1:
            allowed.add(UNIQUE_VIOLATION)  # the same once more, because the answer was lost: its driver sends it again
        bad = [each for each in ran if each.error not in allowed]
        assert not bad, f"refused: {told}"
        self.monitor.execute(LIMITS)
        assert self.monitor.fetchone() == (True, True), f"a limit is exceeded: {told}"
        self.check_answers(ids, given, ran, told)
        self.tidy_up()
        self.finish()
        self.check_history(told + "\nand then another driver finished what there was")
        self.monitor.execute("SELECT id::text, status FROM dray.execution WHERE status IN ('queued', 'running')")
        assert self.monitor.fetchall() == [], f"nobody gets it: {told}"

    def check_answers(self, ids: dict[str, str], given: Sequence[Transaction], ran: Sequence[Ran], told: str) -> None:
        """What a transaction was told and committed."""
        kept = {each.name for each, session in zip(given, self.sessions, strict=False)
                if each.end == "COMMIT" and not any(r.error and r.who == session.name for r in ran)}  # fmt: skip
        self.monitor.execute("SELECT id::text, status, control, owner::text FROM dray.execution")
        now = {row[0]: row[1:] for row in self.monitor.fetchall()}
        for each in (one for one in ran if one.what in kept and one.error is None):
            if each.what == "cancel":
                names = ("running", "parked", "due", "queued", "dead")
                for name, (answer,) in zip(names, each.rows, strict=True):
                    status, control, _ = now[ids[name]]
                    held = (
                        status == "cancelled" if answer == "cancelled" else control == "cancel" or status != "running"
                    )
                    assert held, f"{name} was to be {answer} and is {status}, {control}: {told}"
                    if answer == "cancelling":
                        assert status not in ("queued", "waiting", "paused"), f"{name}: its cancel is forgotten: {told}"
            if each.what in ("complete", "fail", "park"):
                ((fenced, settled, refused),) = each.rows
                self.monitor.execute(WRITTEN, (ids["running"],))
                if (not fenced or refused) and sum(one.name in COMMITS for one in given) == 1:
                    assert self.monitor.fetchone() == (0,), f"written although it was refused: {told}"
                if ids["running"] in (settled or ()):
                    assert now[ids["running"]][0] != "running" or now[ids["running"]][2] != "1", told

    def tidy_up(self) -> None:
        """What drivers do every second."""
        self.store.reap()
        while self.store.place_marks(100):
            pass
        self.store.wake_due(100)

    def finish(self) -> None:
        """Those who hold something die, and another driver ends all that it gets."""
        self.monitor.execute("UPDATE dray.driver SET lease_until = now() - interval '1 second'")
        self.tidy_up()
        self.store.register(LAST, 3600, {"pid": 1, "host": "x"})
        store = DriverStore(self.engine)
        for _ in range(20):
            claimed = store.claim(LAST, ["default", "small"], 50)
            if not claimed and not store.more:
                return
            outcomes = [Outcome(e.id, "end", e.claim_count, Kind.COMPLETED, None, "1", None, None, 0) for e in claimed]
            store.commit(LAST, outcomes, [Settlement(e.id, "completed", None, None, e.claim_count) for e in claimed])
            self.tidy_up()

    def check_history(self, told: str) -> None:
        report = judge(self.engine, Question(grace=0.0))
        self.monitor.execute(READ)
        violations = [*report.violations, *judge_transitions(self.monitor.fetchall())]
        report.violations = violations
        assert not violations, "\n".join(lines(report)) + told


@pytest.fixture(scope="module")
def meeting(server: str) -> Iterator[Meeting]:
    with a_database(server) as url:
        found = Meeting(url)
        yield found
        found.close()


PAIRS = [*itertools.combinations_with_replacement(STATEMENTS, 2)]
COMMITS = {"complete", "fail", "park"}
ENDINGS = (("COMMIT", "COMMIT"), ("ROLLBACK", "COMMIT"), ("COMMIT", "ROLLBACK"))


def at_once(names: Sequence[str], order: Sequence[int]) -> bool:
    """Whether it can be: a driver makes one commit after the other, but may repeat one whose answer was lost."""
    return len({*names}) == 1 or not COMMITS.issuperset(names) or order[:2] in ((0, 0), (1, 1))


@pytest.mark.parametrize("first", STATEMENTS)
def test_two_transactions_in_every_order(meeting: Meeting, first: str) -> None:
    for names in PAIRS:
        if names[0] != first:
            continue
        for ends in ENDINGS:
            for order in orders((2, 2)):
                if not at_once(names, order):
                    continue
                if ends == ENDINGS[0] or order[:2] not in (
                    (0, 0),
                    (1, 1),
                ):  # else the one that is rolled back meets nobody
                    meeting.meet(names, ends, order)


@pytest.mark.parametrize("seed", range(4))
def test_three_transactions_in_orders_by_lot(meeting: Meeting, seed: int) -> None:
    lots = random.Random(seed)
    every = list(orders((2, 2, 2)))
    for _ in range(TRIPLES // 4):
        names = lots.choices(list(STATEMENTS), k=3)
        if sum(each in COMMITS for each in names) > 1:
            continue
        ends = lots.choices(("COMMIT", "ROLLBACK"), (4, 1), k=3)
        meeting.meet(names, ends, lots.choice(every))
