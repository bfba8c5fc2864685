"""What an interpreter keeps of an execution: scopes, which are runs of regions, and runs of loops."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.oracle.parts import Fork, Region

ANYTHING = object()  # the text of a message that is Dray's own


@dataclass(frozen=True)
class Failure:
    """message: "" where it is Dray's own. unit: where it was, seen from the scope that hears of it."""

    type: str
    message: str
    node: str
    unit: str = ""

    @property
    def told(self) -> dict[str, Any]:
        return {"type": self.type, "message": self.message or ANYTHING, "node": self.node}


@dataclass(eq=False)
class Scope:
    """One run of a region."""

    region: Region
    key: str
    parent: Scope | None
    index: int = 0
    item: Any = None
    state: dict[str, str] = field(default_factory=dict)  # runs, waits, tries, done, failed, skipped, dropped
    output: dict[str, Any] = field(default_factory=dict)
    edges: dict[int, bool] = field(default_factory=dict)
    left: dict[int, bool] = field(default_factory=dict)  # edges out of it, decided when its loop ends
    flows: dict[int, tuple[Failure, ...]] = field(default_factory=dict)  # per edge: the failures behind it
    led: dict[str, tuple[Failure, ...]] = field(default_factory=dict)  # per unit: the failures that led to it
    handed: dict[str, list[Failure]] = field(default_factory=dict)  # catch or finally -> what it is to take
    caught: set[str] = field(default_factory=set)  # catches that took something
    set_at: dict[str, int] = field(default_factory=dict)  # set_variable nodes that ran, and when
    loops: dict[str, Run] = field(default_factory=dict)
    tried: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # attempt, failures, crashes
    over: bool = False
    cut: set[str] = field(default_factory=set)  # units of branches that were cancelled
    bearing: list[Fork] = field(default_factory=list)  # forks of which a branch has failed
    ended: bool = False  # not by a failure
    jumped: bool = False  # ended by break or continue


@dataclass(eq=False)
class Run:
    """One run of a loop: its turns, or its items."""

    items: list[Any] | None = None
    count: int | None = None
    turns: list[Scope] = field(default_factory=list)
    errors: dict[int, Failure] = field(default_factory=dict)
    ended: bool = False


@dataclass(frozen=True)
class End:
    status: str
    output: Any = None
    error: Failure | None = None
