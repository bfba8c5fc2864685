"""The end of a driver reaches every part of it."""

from __future__ import annotations

from dray.cluster.driver.ending import stop_all


class Part:
    def __init__(self, told: list[str], name: str, error: Exception | None = None) -> None:
        self.told, self.name, self.error = told, name, error

    def stop(self) -> None:
        self.told.append(self.name)
        if self.error is not None:
            raise self.error


def test_one_part_that_fails_keeps_no_other_from_being_stopped() -> None:
    told: list[str] = []
    stop_all([Part(told, "a"), Part(told, "b", OSError("Bad file descriptor")), Part(told, "c")])
    assert told == ["a", "b", "c"]
