"""When the claimer looks again: its store is a list of answers, and nothing polls within the time of a test."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from dray.cluster.driver.claimer import Claimer
from dray.store.records import Budget, Claimed

PATIENCE = 30.0


class Answers:
    """A DriverStore that finds nothing. looks: one entry for each claim."""

    limited = False
    more = False

    def __init__(self) -> None:
        self.looks: queue.Queue[int] = queue.Queue()
        self.rooms: list[int] = []

    def claim(self, incarnation: str, queues: Sequence[str], limit: int, budget: Budget) -> list[Claimed]:
        self.looks.put(limit)
        self.rooms.append(budget.room)
        return []

    def set_listening(self, incarnation: str, listening: bool) -> None:
        pass


@pytest.fixture
def store() -> Answers:
    return Answers()


@pytest.fixture
def claimer(store: Answers) -> Iterator[Claimer]:
    given: Any = store
    found = Claimer(given, "i", ["default"], 500, 3600.0, True, lambda _: None)
    found.start()
    yield found
    found.stop()
    found.join(PATIENCE)


def rests(store: Answers, claimer: Claimer) -> list[int]:
    """The limits of all looks, until it waits for a notification."""
    found = [store.looks.get(timeout=PATIENCE), store.looks.get(timeout=PATIENCE)]  # and one more after it said so
    deadline = time.monotonic() + PATIENCE
    while claimer._handed_over and time.monotonic() < deadline:
        time.sleep(0.001)
    return found


def test_more_room_is_no_reason_to_look_where_nothing_is_limited(store: Answers, claimer: Claimer) -> None:
    claimer.ask(5)
    assert rests(store, claimer) == [5, 5]
    claimer.ask(6)
    claimer.hint()
    assert store.looks.get(timeout=PATIENCE) == 6
    assert store.looks.empty()


def test_more_room_is_a_reason_to_look_where_limits_hold(store: Answers, claimer: Claimer) -> None:
    claimer.ask(5)
    rests(store, claimer)
    store.limited = True
    claimer.ask(6)
    assert store.looks.get(timeout=PATIENCE) == 6


def test_so_is_more_room_for_bytes(store: Answers, claimer: Claimer) -> None:
    claimer.ask(5, 1000)
    rests(store, claimer)
    store.limited = True
    claimer.ask(5, 999)
    claimer.ask(5, 2000)
    assert store.looks.get(timeout=PATIENCE) == 5
    assert store.rooms == [1000, 1000, 2000]


def test_it_looks_again_at_once_while_there_is_more_to_look_at(store: Answers, claimer: Claimer) -> None:
    store.more = True
    claimer.ask(5)
    for _ in range(5):
        store.looks.get(timeout=PATIENCE)
