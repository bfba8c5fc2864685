"""How much one statement is given."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dray.cluster.driver.portions import FIRST_PAUSE, LONGEST_PAUSE, Portion
from dray.store.errors import TookTooLong, from_sqlstate

TOO_LONG = from_sqlstate("57014", "canceling statement due to statement timeout")


class Server:
    """Manages `most` in time. now: the clock."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = 0.0
        self.tried: list[int] = []

    def __call__(self, count: int) -> int:
        self.tried.append(count)
        if count > self.most:
            raise TOO_LONG
        return count

    def rows(self, some: Sequence[int]) -> list[int]:
        self(len(some))
        return [each * 10 for each in some]

    def portion(self, most: int) -> Portion:
        return Portion("test", most, lambda: self.now)


def test_57014_is_taking_too_long() -> None:
    assert type(TOO_LONG) is TookTooLong
    assert TOO_LONG.lost is False


def test_what_takes_too_long_is_halved_down_to_what_does_not_and_that_is_remembered() -> None:
    server = Server(40)
    portion = server.portion(500)
    assert portion.ask(server) == (31, 31)
    assert server.tried == [500, 250, 125, 62, 31]
    assert portion.ask(server) == (31, 31)
    assert portion.ask(server, 7) == (7, 7)
    assert server.tried[5:] == [31, 7]


@pytest.mark.parametrize("most", [1, 2, 3, 500])
def test_down_to_one_and_then_it_is_an_error(most: int) -> None:
    server = Server(1)
    assert server.portion(most).ask(server) == (1, 1)
    server = Server(0)
    with pytest.raises(TookTooLong):
        server.portion(most).ask(server)
    assert server.tried[-1] == 1


def test_a_small_request_that_takes_too_long_is_halved_from_there() -> None:
    server = Server(2)
    portion = server.portion(500)
    assert portion.ask(server, 5) == (2, 2)
    assert portion.size == 2


def test_more_is_tried_after_a_while_and_ever_later_where_it_is_too_much() -> None:
    server = Server(10)
    portion = server.portion(16)
    portion.ask(server)
    assert portion.size == 8
    server.now = FIRST_PAUSE - 1
    assert portion.size == 8
    server.now = FIRST_PAUSE
    assert portion.ask(server) == (8, 8), "16 was too much again"
    server.now += 2 * FIRST_PAUSE - 1
    assert portion.size == 8
    server.now += 1
    server.most = 16
    assert portion.ask(server) == (16, 16)
    assert portion.size == 16


def test_the_pause_stays_bounded() -> None:
    server = Server(1)
    portion = server.portion(2)
    for _ in range(30):
        assert portion.ask(server) == (1, 1)
        server.now += LONGEST_PAUSE
        assert portion.size == 2


def test_each_gives_all_rows_in_their_order() -> None:
    server = Server(3)
    portion = server.portion(10)
    assert portion.each(server.rows, list(range(25))) == [each * 10 for each in range(25)]
    assert max(server.tried[3:]) <= 3
    assert portion.each(server.rows, []) == []
