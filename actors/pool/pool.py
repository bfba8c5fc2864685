"""Which runner does which node: bookkeeping without Ray and without threads, for the one thread that decides.

A pool is the runners of all shapes of one driver. A node waits in the line of its shape until flush() gives it to the
runner with the fewest nodes; a runner has at most `slots` nodes, so that what is sent ahead hides the way there and
back, and what is lost with a runner is bounded. Everything that happens to runners comes in as PoolEvent, by way of
the driver's inbox.

    starting    its process is not there yet
    ready       it has answered, and is to be entered in the database; then admit()
    admitted    gets nodes
    silent      cannot be reached for the moment: gets none, keeps those it has
    retiring    has asked to be replaced, and is: gets none, ends those it has, at most RETIRE seconds, and is killed
    leaving     is not needed any more (actors/pool/demand.py): gets none, ends those it has, and is killed
    gone        its nodes are lost, unless it had none

A runner that is gone is replaced: at once, unless it died young, then after a pause that grows. A node under which
runners die is a suspect: Shape.alone gives it one of its own, one suspect at a time: the next death is its own.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from dray.actors.messages import NodeResult, NodeSpec, NodeTask
from dray.actors.pool.demand import Sizes
from dray.actors.pool.events import (
    Collected,
    News,
    PoolEvent,
    RunnerFactory,
    RunnerHandle,
    RunnerInfo,
    RunnerLost,
    RunnerReady,
)
from dray.actors.pool.line import Line, Member, calls, first_to_go
from dray.actors.pool.shapes import Shape, shape_of
from dray.actors.pool.turns import Lines, say_stuck, warn

__all__ = [
    "Collected", "News", "Pool", "PoolEvent", "RunnerFactory", "RunnerHandle", "RunnerInfo", "RunnerLost",
    "RunnerReady", "Shape", "shape_of",
]  # fmt: skip

RETIRE = 300.0  # seconds
PURGE = 100  # cancelled nodes that a line may hold before it is looked through
IDLE = 60.0  # seconds after which a runner that is not needed is ended
SHAPES = 8
ASK_IDLE = 0.02  # seconds that a runner without nodes is left alone
SILENCE = 60.0  # seconds over its time until a runner that does not answer counts as dead
_GAP = 5.0  # seconds between two ticks of a driver that stood still itself


class Pool:
    """size: runners of the default shape, and the most of any other. slots: nodes in one runner at once.

    least: unless None, the default shape follows demand too, between this and size. Other shapes do so from none.
    busy: nodes for which one runner is enough; None = slots. shapes: that graphs ask for and that have runners at once.
    on_stuck: told (shape, runners, seconds) every minute while runners do not start.
    """

    def __init__(
        self,
        factory: RunnerFactory,
        notify: Callable[[PoolEvent], None],
        *,
        default: Shape,
        size: int,
        slots: int,
        least: int | None = None,
        busy: int | None = None,
        idle: float = IDLE,
        shapes: int = SHAPES,
        on_stuck: Callable[[Shape, int, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._factory = factory
        self._notify = notify
        self._size = size
        self._slots = slots
        self._clock = clock
        self._members: dict[int, Member] = {}
        self._idle = idle
        others = Sizes(0, size, idle, busy or slots)
        of_default = others._replace(least=size if least is None else least)
        self._lines = Lines(default, of_default, others, slots, shapes)
        self._on_stuck = on_stuck or say_stuck
        self._waiting: dict[int, Line] = {}  # of the nodes that somebody waits for: in line
        self._running: dict[int, Member] = {}  # in a runner
        self._to_ask: list[Member] = []  # whose answer was taken in: to be asked again at the end of the turn
        self._last_number = 0
        self._last_tick: float | None = None
        self._stopping = False

    @property
    def waiting(self) -> int:
        """Nodes that no runner has yet."""
        return len(self._waiting)

    @property
    def backlog(self) -> int:
        """Of these, the ones for the default shape: others may wait for what the cluster does not have."""
        return len(self.default.waiting)

    @property
    def default(self) -> Line:
        """The line of the default shape."""
        return self._lines.default

    @property
    def in_flight(self) -> int:
        """Nodes that runners have, and that somebody waits for."""
        return len(self._running)

    @property
    def capacity(self) -> int:
        """Nodes that the runners of the default shape take at once."""
        return self._size * self._slots

    def start(self) -> None:
        self._resize(self._lines.default, self._clock())

    # What the driver does every turn

    def add(self, spec: NodeSpec, task: NodeTask, shape: Shape) -> None:
        """Put a node into the line of its shape."""
        line = self._lines.known.get(shape) or self._lines.begin(shape, self._clock())
        line.waiting.append((spec, task))
        self._waiting[task.id] = line

    def flush(self) -> None:
        """Give the waiting nodes to runners with room, as even as can be, and ask the runners that have answered.

        One call for what a runner gets, a few if it is much. Asking at the end of a turn and not sooner, what is done
        while the driver is busy comes in one answer.
        """
        if self._waiting:
            now = self._clock()
            for line in self._lines:
                if line.waiting and line.open_since is not None:
                    self._assign(line)
                    self._resize(line, now)
        if self._to_ask:
            self._ask(self._clock())

    def _ask(self, now: float) -> None:
        """Ask the runners that have answered. One without nodes is asked along with its next batch, if that comes
        soon: a call less for each node of a lone execution."""
        later: list[Member] = []
        for member in self._to_ask:
            if member.number not in self._members:
                continue
            if member.tasks or now >= member.idle_since + ASK_IDLE:
                member.collecting_since = now
                member.handle.collect()
            else:
                later.append(member)
        self._to_ask = later

    def cancel(self, ids: Iterable[int]) -> None:
        """Nobody waits for these any more. Those that run are asked to stop; what they give is dropped."""
        told: dict[int, list[int]] = {}
        for number in ids:
            if (line := self._waiting.pop(number, None)) is not None:
                line.cancelled += 1
                if line.cancelled > PURGE and line.cancelled * 2 > len(line.waiting):
                    line.purge(self._waiting)
            elif (member := self._running.pop(number, None)) is not None:
                told.setdefault(member.number, []).append(number)
        for runner, numbers in told.items():
            self._members[runner].handle.cancel(numbers)

    def admit(self, runner: int, db_id: int) -> None:
        """The runner is known to the database as db_id: it may be given nodes."""
        member = self._members.get(runner)
        if member is not None:
            member.db_id = db_id
            self._lines[member.shape].admitted()

    def handle(self, event: PoolEvent) -> News:
        """Take in what happened to a runner."""
        member = self._members.get(event.runner)
        if member is None:  # killed meanwhile
            return News()
        if type(event) is Collected:
            return self._collected(member, event)
        if type(event) is RunnerReady:
            member.node = event.info.node_id
            member.ready_at = member.idle_since = member.collecting_since = self._clock()
            member.handle.collect()
            return News(ready=[(member.number, event.info)])
        assert type(event) is RunnerLost
        return self._lost(member, event)

    # Time

    def wake_at(self) -> float | None:
        """When tick() has something to do that cannot wait for the next second, on the clock."""
        due = [line.pause_until for line in self._lines if line.missing > 0]
        due += [member.idle_since + ASK_IDLE for member in self._to_ask]
        return None if self._stopping else min(due, default=None)

    def tick(self, now: float) -> None:
        """Start replacements that are due; end runners that are silent, idle, or retiring for too long.

        What it ends comes back as RunnerLost, like any other loss.
        """
        if self._last_tick is not None and now - self._last_tick > _GAP:
            # The machine slept, or this process was stopped: nobody could answer, or we did not listen.
            for member in self._members.values():
                if member.collecting_since is not None:
                    member.collecting_since += now - self._last_tick
        is_new_second = self._last_tick is None or int(now) != int(self._last_tick)
        self._last_tick = now
        for line in self._lines:
            self._fill(line, now)
        if is_new_second:
            if not self._stopping:
                self._lines.turn(now)
            for line in self._lines:
                self._resize(line, now)
                line.look(now)
                if slow := line.slow(now):
                    self._on_stuck(line.shape, len(slow), max(slow))
            for member in self._members.values():
                self._look_at(member, now)

    def _look_at(self, member: Member, now: float) -> None:
        asked, patience = member.collecting_since, member.handle.answers_within
        if member.ending:
            return
        if member.retiring and now >= member.retire_until:
            self._end(member, f"{member.retiring}; its other nodes did not end within {RETIRE:g} s")
        elif asked is not None and patience is not None and now - asked > patience + SILENCE:
            self._end(member, f"it did not answer for {now - asked:.0f} s", crash=True)
        elif member.leaving and not member.tasks and (member.db_id or member.ready_at is None):
            self._end(member, f"idle for {self._idle:g} s")

    def _end(self, member: Member, reason: str, crash: bool = False) -> None:
        member.ending = True
        member.handle.kill()
        self._notify(RunnerLost(member.number, reason, crash))

    # Ending

    def drain(self, keep: Collection[int] = ()) -> None:
        """Replace nobody, and forget what waits but for these; what runs may end."""
        self._stopping = True
        self._waiting = {number: line for number, line in self._waiting.items() if number in keep}
        for line in self._lines:
            line.purge(self._waiting)
            line.wanted = 0

    def stop(self) -> None:
        """Kill all runners."""
        self.drain()
        for member in self._members.values():
            member.handle.kill()
        for line in self._lines:
            line.members.clear()
        self._members.clear()
        self._running.clear()

    def runners(self) -> list[dict[str, Any]]:
        """For people: one dict per runner."""
        return [
            {
                "runner": each.number,
                "database_id": each.db_id,
                "shape": each.shape,
                "nodes": len(each.tasks),
                "tasks": list(each.tasks),
                "retiring": each.retiring,
                "leaving": each.leaving,
                "silent": each.silent,
            }
            for each in self._members.values()
        ]

    def short(self) -> list[tuple[str, int, float]]:
        return self._lines.short()

    def check(self) -> None:
        """What must be true between any two calls; for tests."""
        assert not self._waiting.keys() & self._running.keys()
        in_line = [task.id for line in self._lines for _, task in line.waiting]
        assert self._waiting.keys() <= set(in_line)
        assert {each for line in self._lines for each in line.members} == set(self._members)
        for number, member in self._running.items():
            assert self._members[member.number] is member
            assert number in member.tasks
        for member in self._members.values():
            assert len(member.tasks) <= self._lines[member.shape].slots
            assert not member.batch, "flush() sends what it assigns"
            assert not member.tasks or member.db_id is not None, "only what the database knows gets nodes"
            assert member.number in self._lines[member.shape].members
        for line in self._lines:
            assert self._stopping or line.missing >= 0, "more runners than wanted"

    # Inside

    def _fill(self, line: Line, now: float) -> None:
        missing = line.missing
        if missing <= 0 or now < line.pause_until or self._stopping:
            return
        for _ in range(missing):
            self._last_number += 1
            member = Member(self._last_number, line.shape, now)
            self._members[member.number] = line.members[member.number] = member
            member.handle = self._factory(member.number, line.shape, self._notify)

    def _resize(self, line: Line, now: float) -> None:
        """Start what is missing by demand, and tell those to leave that are too many."""
        if self._stopping:
            return
        line.follow(now)
        if line.missing > 0:
            line.call_back()
            self._fill(line, now)
        elif line.missing < 0:
            for member in first_to_go(line.members.values(), self._members.values(), -line.missing):
                member.leaving = True

    def _assign(self, line: Line) -> None:
        able = [each for each in line.members.values() if each.takes_work]
        sizes = line.demand.sizes
        # What is sent to a runner stays there: while others may come, it gets no more than keeps it busy.
        slots = line.slots if len(able) >= sizes.most else min(line.slots, sizes.busy)
        free = [(len(each.tasks), each.number) for each in able if len(each.tasks) < slots]
        heapq.heapify(free)
        given: dict[Member, None] = {}
        while free and line.waiting:
            spec, task = line.waiting.popleft()
            if self._waiting.pop(task.id, None) is None:
                line.cancelled -= 1
                continue
            load, number = free[0]
            member = line.members[number]
            member.tasks[task.id] = task.timeout
            member.batch.append((spec, task))
            self._running[task.id] = member
            given[member] = None
            if load + 1 < slots:
                heapq.heapreplace(free, (load + 1, number))
            else:
                heapq.heappop(free)
        for member in given:
            batch, member.batch = member.batch, []
            for specs, tasks in calls(batch):
                member.handle.submit(specs, tasks)

    def _collected(self, member: Member, event: Collected) -> News:
        results: list[tuple[int, NodeResult]] = []
        lost: list[tuple[int, str, bool]] = []
        tasks, running, db_id = member.tasks, self._running, member.db_id
        for result in event.results:
            if tasks.pop(result.id, None) is None or running.pop(result.id, None) is None:
                continue  # unknown, or cancelled
            if result.given_back is not None:  # a neighbour's fault
                lost.append((result.id, result.given_back, False))
            elif db_id is not None:
                results.append((db_id, result))
        now = self._clock()
        if event.results and not tasks:
            member.idle_since = now
        member.silent = event.silent
        member.collecting_since = None
        if not event.silent:
            self._to_ask.append(member)
        if event.retiring and not member.retiring:
            member.retiring = event.retiring
            member.retire_until = now + min(RETIRE, 30.0 + max(tasks.values(), default=0.0))
            self._lines[member.shape].strike(member, now, self._last_number)
            self._fill(self._lines[member.shape], now)
        ended: Sequence[tuple[int, str]] = ()
        if member.retiring and not tasks and not member.ending:
            member.handle.kill()
            ended = self._remove(member, member.retiring)
        return News(results=results, lost=lost, ended=ended, runner=db_id)

    def _lost(self, member: Member, event: RunnerLost) -> News:
        member.handle.kill()  # it may be alive, and only out of reach
        lost = [(each, event.reason, event.crash) for each in member.tasks if self._running.pop(each, None) is not None]
        ended = self._remove(member, event.reason)
        line, now = self._lines[member.shape], self._clock()
        if not (member.retiring or (member.ending and not event.crash)):
            line.strike(member, now, self._last_number)
        if member.db_id is None and not member.leaving:  # nobody else will tell
            line.trouble = event.reason
            warn("a runner was lost before it could be used", reason=event.reason, retry_in=line.pause_until - now)
        self._fill(line, now)
        return News(lost=lost, ended=ended, runner=member.db_id)

    def _remove(self, member: Member, reason: str) -> Sequence[tuple[int, str]]:
        del self._members[member.number]
        del self._lines[member.shape].members[member.number]
        return () if member.db_id is None else [(member.db_id, reason)]
