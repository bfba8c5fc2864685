"""What the pool and its runners say to each other, and what the pool says to the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from dray.actors.messages import NodeResult, NodeSpec, NodeTask
from dray.actors.pool.shapes import Shape


class RunnerInfo(NamedTuple):
    """Where a runner is. node_id: of Ray, in hex. host: name. pid: its process."""

    name: str
    node_id: str
    host: str
    pid: int


class RunnerReady(NamedTuple):
    runner: int
    info: RunnerInfo


class Collected(NamedTuple):
    """What a runner has done since the last time. retiring: why it must be replaced, None = healthy.

    silent: it cannot be reached; another Collected follows when it can, or RunnerLost.
    """

    runner: int
    results: list[NodeResult]
    retiring: str | None = None
    silent: bool = False


class RunnerLost(NamedTuple):
    """crash: False for a planned stop or a preemption."""

    runner: int
    reason: str
    crash: bool = True


PoolEvent: TypeAlias = RunnerReady | Collected | RunnerLost


class RunnerHandle(Protocol):
    """One runner, from the driver's side. Every method returns at once.

    answers_within: seconds in which collect() is answered, even with nothing; None = not before there is something.
    """

    answers_within: float | None

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None:
        """Start these. If no collect() is unanswered, one follows in the same turn, and the batch may go with it."""

    def collect(self) -> None:
        """Ask for what is done; one Collected follows, or RunnerLost. Called again only after that."""

    def cancel(self, ids: Sequence[int]) -> None: ...

    def kill(self) -> None:
        """End the process; no event follows."""


# (number of the runner, its shape, where its events go)
RunnerFactory: TypeAlias = Callable[[int, Shape, Callable[[PoolEvent], None]], RunnerHandle]


class News(NamedTuple):
    """What an event means. results: (runner's id in the database, result). lost: (task, why, crash).
    ready: to be entered in the database, then admit(). ended: (id in the database, why). runner: the id of the one that
    it is all about, None = the database does not know it."""

    results: Sequence[tuple[int, NodeResult]] = ()
    lost: Sequence[tuple[int, str, bool]] = ()
    ready: Sequence[tuple[int, RunnerInfo]] = ()
    ended: Sequence[tuple[int, str]] = ()
    runner: int | None = None
