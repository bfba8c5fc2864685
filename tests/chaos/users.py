"""Those who submit, some in transactions that roll back; who cancel, pause, resume and signal."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2

from tests.chaos.shapes import SHAPES

SUBMITTED = [*(each for each in SHAPES if each not in ("leaf", "middle")), "join", "join", "slow", "slow"]
WAITING = """
    SELECT c.execution_id::text, c.outcome ->> 'signal', c.node_key, c.attempt FROM dray.checkpoint c
    JOIN dray.execution e ON e.id = c.execution_id AND e.finished_at IS NULL
    WHERE c.kind = 'g' AND c.outcome ->> 'signal' <> 'never' AND NOT EXISTS (SELECT FROM dray.checkpoint l
        WHERE l.execution_id = c.execution_id AND l.node_key = c.node_key AND l.attempt > c.attempt
            AND l.kind IN ('c', 'f', 'g', 'd'))
"""


class Users:
    """accepted: ids whose submit was committed and told so."""

    def __init__(self, url: Callable[[], str], seed: int, rate: float) -> None:
        self._url = url
        self._rate = rate
        self._stop = threading.Event()
        self.accepted: list[str] = []
        jobs = (self._submit, self._answer, self._meddle)
        self._threads = [
            threading.Thread(target=self._run, args=(job, random.Random(f"{seed}/{number}")), daemon=True)
            for number, job in enumerate(jobs)
        ]
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join(60)

    def _run(self, job: Callable[[Any, random.Random], None], lots: random.Random) -> None:
        while not self._stop.is_set():
            try:
                found = psycopg2.connect(self._url(), connect_timeout=5)
            except psycopg2.Error:
                time.sleep(0.2)
                continue
            try:
                while not self._stop.is_set():
                    job(found, lots)
            except (psycopg2.Error, IndexError):
                pass
            finally:
                found.close()

    def _submit(self, found: Any, lots: random.Random) -> None:
        name = lots.choice(SUBMITTED)
        queue = "small" if lots.random() < 0.15 else "default"
        ids = []
        with found.cursor() as cursor:
            for _ in range(lots.randint(1, 4)):
                cursor.execute("SELECT dray.submit(%s, %s, queue => %s)::text",
                               (name, f'{{"key": "k{lots.randrange(3)}"}}', queue))  # fmt: skip
                ids.append(cursor.fetchone()[0])
            if lots.random() < 0.1:
                time.sleep(lots.random())  # it thinks about it
        if lots.random() < 0.2:
            found.rollback()
        else:
            found.commit()
            self.accepted += ids
        self._stop.wait(lots.expovariate(self._rate))

    def _answer(self, found: Any, lots: random.Random) -> None:
        answer_all(found, lots)
        self._stop.wait(0.3)

    def _meddle(self, found: Any, lots: random.Random) -> None:
        what = lots.choice(("cancel", "pause", "pause", "resume", "resume", "resume"))
        victim = self.accepted[-1 - lots.randrange(min(60, len(self.accepted)))] if self.accepted else None
        if victim is not None:
            with found.cursor() as cursor:
                cursor.execute(f"SELECT dray.{what}(%s)", (victim,))
                if lots.random() < 0.2:
                    time.sleep(lots.random())
            found.rollback() if lots.random() < 0.2 else found.commit()
        self._stop.wait(lots.uniform(0.2, 0.8))


def answer_all(found: Any, lots: random.Random, share: float = 0.7) -> None:
    """Sends what nodes wait for; once for each wait, and now and then once more."""
    with found.cursor() as cursor:
        cursor.execute(WAITING)
        for execution, name, key, attempt in cursor.fetchall():
            if lots.random() < share:
                cursor.execute("SELECT dray.signal(%s, %s, dedupe => %s)", (execution, name, f"{key}/{attempt}"))
                found.commit()
                if lots.random() < 0.1:
                    cursor.execute("SELECT dray.signal(%s, %s)", (execution, name))
                    found.commit()
    found.commit()
