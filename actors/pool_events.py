"""What the pool and its runners say to each other, and what the pool says to the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from actors.messages import NodeResult, NodeSpec, NodeTask
from actors.registry import HandlerSpec


class Shape(NamedTuple):
    """What one runner asks for. memory: bytes. solo: it takes one node at a time. labels: of the cluster's nodes."""

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory: int = 0
    resources: tuple[tuple[str, float], ...] = ()
    solo: bool = False
    labels: tuple[tuple[str, str], ...] = ()

    def alone(self) -> Shape:
        """For a suspect. Asks for no CPU, since all may be taken; where special resources are needed, there is no
        second set of them to wait for, and the suspect goes back among the others."""
        if self.num_gpus or self.resources:
            return self
        return Shape(0.0, memory=self.memory, solo=True, labels=self.labels)


def shape_of(handler: HandlerSpec, default: Shape) -> Shape:
    """The shape that a handler asks for; what it does not say is the default's."""
    labels = handler.label_selector
    if handler.num_cpus is None and not (handler.num_gpus or handler.memory or handler.resources or labels):
        return default
    return Shape(
        default.num_cpus if handler.num_cpus is None else handler.num_cpus,
        handler.num_gpus or 0.0,
        handler.memory or 0,
        tuple(sorted((handler.resources or {}).items())),
        labels=tuple(sorted((labels or {}).items())),
    )


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
    ready: to be entered in the database, then admit(). ended: (id in the database, why)."""

    results: Sequence[tuple[int, NodeResult]] = ()
    lost: Sequence[tuple[int, str, bool]] = ()
    ready: Sequence[tuple[int, RunnerInfo]] = ()
    ended: Sequence[tuple[int, str]] = ()
