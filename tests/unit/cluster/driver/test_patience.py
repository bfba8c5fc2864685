"""Threads that wait for a database: one tries for all, and none is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dray.cluster.driver import patience as module
from dray.cluster.driver.patience import LONGEST_GAP, Patience, Stopped
from dray.store.errors import Unavailable

AWAY = Unavailable("could not connect to server", None)
FULL = Unavailable("could not extend file: No space left on device", "53100", lost=False)


class Database:
    """Away until it is back, and counts who asks."""

    def __init__(self) -> None:
        self.back = threading.Event()
        self.asked = 0
        self.lock = threading.Lock()

    def ask(self) -> int:
        with self.lock:
            self.asked += 1
        if not self.back.is_set():
            raise AWAY
        return 1


def test_an_outage_is_asked_about_once_for_all_threads() -> None:
    now = [0.0]
    found = Patience(lambda: now[0])
    found.failed("claim", AWAY)
    found.failed("commit", AWAY)
    tries = 0
    while now[0] < 20:
        tries += sum(found.may_try() for _ in range(5))
        now[0] += 0.1
    assert 20 / LONGEST_GAP <= tries <= 20 / 0.2 / 2
    found.answered("claim")
    assert all(found.may_try() for _ in range(5))
    assert found.troubles.keys() == {"commit"}


def test_what_waits_is_told_with_the_databases_words() -> None:
    now = [7.0]
    found = Patience(lambda: now[0])
    found.failed("commit", FULL)
    now[0] = 9.0
    found.failed("commit", AWAY)
    assert found.troubles == {"commit": (7.0, "could not connect to server")}
    found.answered("commit")
    assert found.troubles == {}


def test_a_database_that_refuses_one_thing_holds_up_nothing_else() -> None:
    found = Patience()
    found.failed("commit", FULL)
    assert all(found.may_try() for _ in range(5))


def test_all_go_on_with_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 0.005)
    database, found, stop = Database(), Patience(), threading.Event()
    answers: list[int] = []

    def work(name: str) -> Callable[[], None]:
        return lambda: answers.append(found(name, database.ask, stop))

    threads = [threading.Thread(target=work(f"thread {n}")) for n in range(5)]
    for thread in threads:
        thread.start()
    while len(found.troubles) < 5:
        threading.Event().wait(0.005)
    database.back.set()
    for thread in threads:
        thread.join(60)
    assert answers == [1] * 5
    assert found.troubles == {}


def test_stop_ends_the_wait() -> None:
    database, found, stop = Database(), Patience(), threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        found("claim", database.ask, stop)
    assert database.asked == 1
