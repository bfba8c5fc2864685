"""The rows that are judged. Times are seconds since 1970, by the database's clock."""

from __future__ import annotations

from typing import Any, NamedTuple

FINAL = frozenset({"completed", "failed", "cancelled"})
ENDS = frozenset("cwfd")  # kinds after which nothing more is recorded of a node


class Execution(NamedTuple):
    """is_held: its owner has a row, or it has none. marked: a note to wake or cancel it is on its way."""

    id: str
    workflow_id: int
    status: str
    queue: str
    owner: str | None
    claim_count: int
    crash_count: int
    control: str | None
    run_at: float
    started_at: float | None
    finished_at: float | None
    wake_at: float | None
    parent_id: str | None
    depth: int
    detached: bool
    gate: str | None
    concurrency_key: str | None
    rate_key: str | None
    stage: str | None
    lane: str | None
    source_id: str | None
    has_input: bool
    is_held: bool
    lease_until: float | None
    parent_status: str | None
    parent_finished_at: float | None
    parent_depth: int
    marked: bool

    @property
    def made_at(self) -> float | None:
        """By its id, where that is of version 7 and was made by the database; to the millisecond."""
        plain = self.id.replace("-", "")
        return int(plain[:12], 16) / 1000 if plain[12] == "7" and self.parent_id is None else None


class Record(NamedTuple):
    """A checkpoint. committed: when its transaction ended, None where the server does not keep that."""

    execution_id: str
    node_key: str
    attempt: int
    kind: str
    branch: str | None
    at: float
    committed: float | None
    wake_at: float | None
    duration_ms: int | None
    runner: int | None
    pid: int | None
    signal: str | None
    child: str | None

    @property
    def stored_at(self) -> float:
        """Before that nobody could know of it."""
        return self.at if self.committed is None else self.committed

    @property
    def began_by(self) -> float | None:
        """It began no later than that; None: not told."""
        if self.duration_ms is not None:
            return self.at - self.duration_ms / 1000
        return self.at if self.kind == "s" else None

    @property
    def is_derived(self) -> bool:
        """Nothing ran for it: it follows from what comes before."""
        return self.kind == "c" and self.duration_ms is None and self.runner is None


class Signal(NamedTuple):
    id: int
    execution_id: str
    name: str
    node: str | None
    sent_at: float
    consumed_at: float | None
    consumed_by: str | None


class Child(NamedTuple):
    id: str
    parent_id: str
    status: str
    detached: bool
    depth: int
    run_at: float
    finished_at: float | None


class Queue(NamedTuple):
    name: str
    paused: bool
    concurrency: int | None
    rate: int | None
    per: float | None


class Gate(NamedTuple):
    """What limits a workflow. since: what started before was let in by other limits, or by none."""

    name: str
    limits: dict[str, Any] | None
    since: float


class Effect(NamedTuple):
    """One effect outside. key: execution/node key. at: by the clock of the machine, just before it took effect."""

    key: str
    attempt: int
    at: float
    pid: int

    @property
    def execution(self) -> str:
        return self.key.partition("/")[0]

    @property
    def node_key(self) -> str:
        return self.key.partition("/")[2]


class Violation(NamedTuple):
    """rows: what it was seen by."""

    rule: str
    execution: str | None
    message: str
    rows: tuple[Any, ...] = ()


class History(NamedTuple):
    """One execution with all that is recorded of it."""

    execution: Execution
    records: tuple[Record, ...]
    signals: tuple[Signal, ...]
    children: tuple[Child, ...]

    def by_key(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for each in self.records:
            found.setdefault(each.node_key, []).append(each)
        return found

    def is_copy(self, record: Record) -> bool:
        """Of an execution that repeats another: whether it was recorded there."""
        made = self.execution.made_at
        return self.execution.source_id is not None and made is not None and record.at < made
