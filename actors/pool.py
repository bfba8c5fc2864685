"""Which runner does which node: bookkeeping without Ray and without threads, for the one thread that decides.

A pool is the runners of all shapes of one driver. A node waits in the line of its shape until flush() gives it to the
runner with the fewest nodes; a runner has at most `slots` nodes, so that what is sent ahead hides the way there and
back, and what is lost with a runner is bounded. Everything that happens to runners comes in as PoolEvent, by way of
the driver's inbox.

A runner is starting, then ready (its process answered), then admitted (it has a row in the database; only now it gets
nodes), perhaps retiring (it gets no more nodes, ends the ones it has, and is killed), then gone. A runner that is gone
is replaced: at once, unless it died young, then after a pause that grows.

A node whose runner died under it is a suspect: it gets a runner of its own (Shape.alone), so that the next death takes
nobody else along.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from actors.messages import NodeResult, NodeSpec, NodeTask
from actors.registry import HandlerSpec

YOUNG = 10.0  # seconds: a runner that dies before is not replaced at once
LONGEST_PAUSE = 30.0
IDLE = 60.0  # seconds after which a runner of a shape other than the default is ended
BATCH_BYTES = 90_000  # Ray carries an argument of up to 100 KiB in the call itself, larger ones by its object store


class Shape(NamedTuple):
    """What one runner asks for. memory: bytes. solo: it takes one node at a time."""

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory: int = 0
    resources: tuple[tuple[str, float], ...] = ()
    solo: bool = False

    def alone(self) -> Shape:
        """For a suspect. Asks for no CPU, since all may be taken; where special resources are needed, there is no
        second set of them to wait for, and the suspect goes back among the others."""
        return self if self.num_gpus or self.resources else Shape(0.0, solo=True)


def shape_of(handler: HandlerSpec, default: Shape) -> Shape:
    """The shape that a handler asks for; what it does not say is the default's."""
    if handler.num_cpus is None and not (handler.num_gpus or handler.memory or handler.resources):
        return default
    return Shape(
        default.num_cpus if handler.num_cpus is None else handler.num_cpus,
        handler.num_gpus or 0.0,
        handler.memory or 0,
        tuple(sorted((handler.resources or {}).items())),
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
    """What a runner has done since the last time. retiring: why it must end, None = healthy."""

    runner: int
    results: list[NodeResult]
    retiring: str | None = None


class RunnerLost(NamedTuple):
    """crash: False for a planned stop or a preemption."""

    runner: int
    reason: str
    crash: bool = True


PoolEvent: TypeAlias = RunnerReady | Collected | RunnerLost


class RunnerHandle(Protocol):
    """One runner, from the driver's side. Every method returns at once."""

    def submit(self, specs: Sequence[NodeSpec], tasks: Sequence[NodeTask]) -> None: ...

    def collect(self) -> None:
        """Ask for what is done; one Collected follows, as soon as there is anything, or RunnerLost."""

    def cancel(self, ids: Sequence[int]) -> None: ...

    def kill(self) -> None:
        """End the process; no event follows."""


# (number of the runner, its shape, where its events go)
RunnerFactory: TypeAlias = Callable[[int, Shape, Callable[[PoolEvent], None]], RunnerHandle]


class News(NamedTuple):
    """What an event means. results: (runner's id in the database, result). lost: (task, why, crash).
    ready: to be entered in the database, then admit(). ended: (id in the database, why)."""

    results: Sequence[tuple[int | None, NodeResult]] = ()
    lost: Sequence[tuple[int, str, bool]] = ()
    ready: Sequence[tuple[int, RunnerInfo]] = ()
    ended: Sequence[tuple[int, str]] = ()


class _Member:
    """One runner. tasks: ids of what it has."""

    __slots__ = ("batch", "born", "db_id", "handle", "idle_since", "info", "number", "retiring", "shape", "tasks")

    def __init__(self, number: int, shape: Shape, now: float) -> None:
        self.number = number
        self.shape = shape
        self.handle: RunnerHandle
        self.info: RunnerInfo | None = None
        self.db_id: int | None = None
        self.tasks: set[int] = set()
        self.batch: list[tuple[NodeSpec, NodeTask]] = []
        self.retiring: str | None = None
        self.born = now
        self.idle_since = now


class _Line:
    """The nodes that wait for one shape, and how its runners fare. starts: when to start replacements."""

    __slots__ = ("starts", "waiting", "young_deaths")

    def __init__(self) -> None:
        self.waiting: deque[tuple[NodeSpec, NodeTask]] = deque()
        self.starts: list[float] = []
        self.young_deaths = 0


class Pool:
    """size: runners of the default shape, and the most of any other. slots: nodes in one runner at once."""

    def __init__(
        self,
        factory: RunnerFactory,
        notify: Callable[[PoolEvent], None],
        *,
        default: Shape,
        size: int,
        slots: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._factory = factory
        self._notify = notify
        self._default = default
        self._size = size
        self._slots = slots
        self._clock = clock
        self._members: dict[int, _Member] = {}
        self._lines: dict[Shape, _Line] = {default: _Line()}
        self._cancelled: set[int] = set()  # of those that wait
        self._last_number = 0
        self._idle_check = 0.0
        self.waiting = 0
        self.in_flight = 0
        self._stopping = False

    @property
    def capacity(self) -> int:
        """Nodes that the runners of the default shape take at once."""
        return self._size * self._slots

    def start(self) -> None:
        for _ in range(self._size):
            self._start(self._default)

    # What the driver does every turn

    def add(self, spec: NodeSpec, task: NodeTask, shape: Shape) -> None:
        """Put a node into the line of its shape."""
        line = self._lines.get(shape)
        if line is None:
            line = self._lines[shape] = _Line()
        line.waiting.append((spec, task))
        self.waiting += 1

    def flush(self) -> None:
        """Give the waiting nodes to runners with room, as even as can be: one call for each, or a few large ones."""
        if not self.waiting or self._stopping:
            return
        for shape, line in self._lines.items():
            if line.waiting:
                self._assign(shape, line)
                self._meet_demand(shape, line)

    def cancel(self, ids: Iterable[int]) -> None:
        """Nobody waits for these any more. Those that run are asked to stop; their results are dropped when they come."""
        wanted = set(ids)
        for member in self._members.values():
            if running := member.tasks & wanted:
                member.handle.cancel(sorted(running))
                wanted -= running
        self._cancelled |= wanted if self.waiting else set()

    def admit(self, runner: int, db_id: int) -> None:
        """The runner is known to the database as db_id: it may be given nodes."""
        member = self._members.get(runner)
        if member is not None:
            member.db_id = db_id
            member.handle.collect()

    def handle(self, event: PoolEvent) -> News:
        """Take in what happened to a runner."""
        member = self._members.get(event.runner)
        if member is None:  # killed meanwhile
            return News()
        if type(event) is Collected:
            return self._collected(member, event)
        if type(event) is RunnerReady:
            member.info = event.info
            return News(ready=[(member.number, event.info)])
        assert type(event) is RunnerLost
        lost = [(each, event.reason, event.crash) for each in sorted(member.tasks)]
        return News(lost=lost, ended=self._remove(member, event.reason))

    def wake_at(self) -> float | None:
        """When tick() has something to do, on the clock."""
        return min((at for line in self._lines.values() for at in line.starts), default=None)

    def tick(self, now: float) -> None:
        """Start replacements that are due; end runners that nobody has needed for long."""
        for shape, line in self._lines.items():
            while line.starts and line.starts[0] <= now:
                heapq.heappop(line.starts)
                self._start(shape)
        if now >= self._idle_check:
            self._idle_check = now + IDLE / 4
            for member in list(self._members.values()):
                if member.shape != self._default and not member.tasks and now - member.idle_since > IDLE:
                    member.retiring = member.retiring or "idle"
                    self._end_if_done(member)

    # Ending

    def drain(self) -> None:
        """Give out no more; what runs may end."""
        self._stopping = True
        for line in self._lines.values():
            line.waiting.clear()
        self.waiting = 0

    def stop(self) -> None:
        """Kill all runners."""
        self.drain()
        for member in self._members.values():
            member.handle.kill()
        self._members.clear()
        self.in_flight = 0

    def check(self) -> None:
        """What must be true between any two calls; for tests."""
        assert self.waiting == sum(len(line.waiting) for line in self._lines.values())
        assert self.in_flight == sum(len(member.tasks) for member in self._members.values())
        for member in self._members.values():
            assert len(member.tasks) <= self._slots_of(member.shape)
            assert not member.batch, "flush() sends what it assigns"
            assert not member.tasks or member.db_id is not None

    # Inside

    def _slots_of(self, shape: Shape) -> int:
        return 1 if shape.solo else self._slots

    def _start(self, shape: Shape) -> None:
        if self._stopping:
            return
        self._last_number += 1
        member = _Member(self._last_number, shape, self._clock())
        self._members[member.number] = member
        member.handle = self._factory(member.number, shape, self._notify)

    def _meet_demand(self, shape: Shape, line: _Line) -> None:
        """Start runners of a shape that has none by default, for what still waits."""
        if shape == self._default or not line.waiting:
            return
        members = [each for each in self._members.values() if each.shape == shape and not each.retiring]
        busy = sum(len(each.tasks) for each in members)
        wanted = min(self._size, -(-(len(line.waiting) + busy) // self._slots_of(shape)))
        for _ in range(wanted - len(members) - len(line.starts)):
            self._start(shape)

    def _assign(self, shape: Shape, line: _Line) -> None:
        slots = self._slots_of(shape)
        free = [
            (len(each.tasks), each.number)
            for each in self._members.values()
            if each.shape == shape and each.db_id is not None and not each.retiring and len(each.tasks) < slots
        ]
        heapq.heapify(free)
        while free and line.waiting:
            load, number = free[0]
            spec, task = line.waiting.popleft()
            self.waiting -= 1
            if self._cancelled and task.id in self._cancelled:
                self._cancelled.discard(task.id)
                continue
            member = self._members[number]
            member.tasks.add(task.id)
            member.batch.append((spec, task))
            self.in_flight += 1
            if load + 1 < slots:
                heapq.heapreplace(free, (load + 1, number))
            else:
                heapq.heappop(free)
        if not self.waiting:
            self._cancelled.clear()
        for member in self._members.values():
            if member.batch:
                self._send(member)

    def _send(self, member: _Member) -> None:
        batch, member.batch = member.batch, []
        size = first = 0
        for position, (spec, task) in enumerate(batch):
            weight = len(spec.config) + _weight(task)
            if position > first and size + weight > BATCH_BYTES:
                _submit(member.handle, batch[first:position])
                size, first = 0, position
            size += weight
        _submit(member.handle, batch[first:] if first else batch)

    def _collected(self, member: _Member, event: Collected) -> News:
        results: list[tuple[int | None, NodeResult]] = []
        tasks, db_id = member.tasks, member.db_id
        for result in event.results:
            if result.id in tasks:
                tasks.discard(result.id)
                results.append((db_id, result))
        self.in_flight -= len(results)
        if not tasks:
            member.idle_since = self._clock()
        ended: Sequence[tuple[int, str]] = ()
        if event.retiring and not member.retiring:
            member.retiring = event.retiring
        if member.retiring:
            ended = self._end_if_done(member)
        if member.number in self._members:
            member.handle.collect()
        return News(results=results, ended=ended)

    def _end_if_done(self, member: _Member) -> Sequence[tuple[int, str]]:
        if member.tasks:
            return ()
        member.handle.kill()
        return self._remove(member, member.retiring or "", died=False)

    def _remove(self, member: _Member, reason: str, died: bool = True) -> Sequence[tuple[int, str]]:
        del self._members[member.number]
        self.in_flight -= len(member.tasks)
        line, now = self._lines[member.shape], self._clock()
        young = died and now - member.born < YOUNG
        line.young_deaths = line.young_deaths + 1 if young else 0
        if not self._stopping and (young or member.shape == self._default):
            pause = min(LONGEST_PAUSE, 2.0 ** (line.young_deaths - 3)) if line.young_deaths > 1 else 0.0
            heapq.heappush(line.starts, now + pause)
        return () if member.db_id is None else [(member.db_id, reason)]


def _weight(task: NodeTask) -> int:
    """About how many bytes it takes on its way."""
    texts = len(task.input or "") + sum(map(len, task.variables))
    return 200 + texts + sum(len(text) for _, text in task.nodes) + sum(len(text) for _, text in task.inputs)


def _submit(handle: RunnerHandle, batch: Sequence[tuple[NodeSpec, NodeTask]]) -> None:
    specs = {spec.key: spec for spec, _ in batch}
    handle.submit(list(specs.values()), [task for _, task in batch])
