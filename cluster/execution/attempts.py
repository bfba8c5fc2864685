"""How often a node is tried: what was tried, and what the settings and the node allow. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Policy(NamedTuple):
    """What holds where a node or a graph does not say. Times in seconds; execution_timeout None = no limit.

    crash_limit: runner losses of one node, and driver losses of one execution, beyond which it counts as poison.
    max_iterations: turns of a loop. max_output_bytes: of one node.
    """

    max_retries: int = 3
    retry_delay: float = 1.0
    retry_multiplier: float = 2.0
    retry_max_delay: float = 3600.0
    node_timeout: float = 300.0
    execution_timeout: float | None = None
    crash_limit: int = 3
    max_iterations: int = 1_000
    max_output_bytes: int = 4 << 20

    def delay(self, failures: int, jitter: float, at_least: float | None = None) -> float:
        """Seconds before the next attempt: never less than promised. failures: how many there were, 1 or more. jitter:
        0 to 1; up to a half is added, so that what failed together does not come back together. at_least: what a
        service asked for."""
        exponent = min(failures - 1, 64)
        promised = max(self.retry_delay * self.retry_multiplier**exponent, at_least or 0.0)
        return min(promised, self.retry_max_delay) * (1 + 0.5 * jitter)


class Attempts:
    """Of the nodes of one execution, those that did not succeed at once."""

    __slots__ = ("_crashes", "_failures", "_next")

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._crashes: dict[int, int] = {}

    def next(self, node: int) -> int:
        """The number of its next handler call."""
        return self._next.get(node, 1)

    def used(self, node: int, number: int) -> None:
        self._next[node] = number + 1

    def begin(self, node: int) -> int:
        """The number under which the start of its next handler call is recorded."""
        number = self._next.get(node, 0)
        if number:
            self._next[node] = number + 1
        return number

    def failed(self, node: int) -> int:
        """How often it has failed now."""
        self._failures[node] = self._failures.get(node, 0) + 1
        return self._failures[node]

    def crashed(self, node: int) -> int:
        """How often its runner has died now."""
        self._crashes[node] = self._crashes.get(node, 0) + 1
        return self._crashes[node]

    def is_suspect(self, node: int) -> bool:
        """Not after one death: all that shared the runner had it too, and must not queue up behind each other."""
        return self._crashes.get(node, 0) > 1

    def answered(self, node: int) -> None:
        """What failed before counts no more."""
        self._failures.pop(node, None)

    def forget(self, node: int) -> None:
        """It is done; a node that decides for a loop begins to count anew for the next turn."""
        if self._next:
            self._next.pop(node, None)
            self._failures.pop(node, None)
            self._crashes.pop(node, None)
