"""The parts of a pool: one runner as the driver sees it, and the line of nodes that wait for one shape."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Container, Iterable, Iterator, Sequence

from dray.actors.messages import NodeSpec, NodeTask
from dray.actors.pool.demand import Demand
from dray.actors.pool.events import RunnerHandle
from dray.actors.pool.shapes import Shape

YOUNG = 10.0  # seconds after it was ready; a runner that dies earlier is not always replaced at once
LONGEST_PAUSE = 30.0  # seconds, for runners that never get ready: only a person can help
PAUSE_AFTER_WORK = 2.0  # seconds, for those that did: some node kills them, and the others must go on
SLOW_START = 30.0  # seconds until a person is told
DOUBT = 10.0  # seconds without a runner that is ready, until nothing more is promised to nodes of this shape
LACK = 60.0  # seconds, until those that wait are better off elsewhere
TELL_AGAIN = 60.0  # seconds
BATCH_BYTES = 90_000  # Ray carries an argument of up to 100 KiB in the call itself, larger ones by its object store


class Member:
    """One runner. tasks: id -> timeout of each node in it, those that nobody waits for any more included.

    collecting_since: when it was asked for results and has not answered. ending: is killed, RunnerLost is on its way.
    leaving: is not needed any more; gets no more nodes, and ends those it has. node: of Ray, "" = not known.
    """

    __slots__ = (
        "batch", "born", "collecting_since", "db_id", "ending", "handle", "idle_since", "leaving", "node", "number",
        "ready_at", "retire_until", "retiring", "shape", "silent", "tasks",
    )  # fmt: skip

    def __init__(self, number: int, shape: Shape, now: float) -> None:
        self.number = number
        self.shape = shape
        self.handle: RunnerHandle
        self.db_id: int | None = None
        self.tasks: dict[int, float] = {}
        self.batch: list[tuple[NodeSpec, NodeTask]] = []
        self.born = self.idle_since = now
        self.ready_at: float | None = None
        self.collecting_since: float | None = None
        self.retiring: str | None = None
        self.retire_until = 0.0
        self.node = ""
        self.silent = self.ending = self.leaving = False

    @property
    def takes_work(self) -> bool:
        return self.db_id is not None and not (self.silent or self.goes)

    @property
    def goes(self) -> bool:
        return self.retiring is not None or self.ending or self.leaving


class Line:
    """The nodes that wait for one shape, and its runners.

    slots: nodes in one runner at once. wanted: how many runners, as `demand` says. open_since: None = it has no runners
    now, since it is not its turn (actors/pool/turns.py). waiting: also those cancelled meanwhile, `cancelled`.
    strikes: young deaths in a row. pause_until: no runner is started before. told_at: when a person was last told that
    its runners do not start. short_since: when nodes began to wait without a runner that is ready.
    proved: a runner of it was ready once, and since then never missed for long. proving: one is wanted only to see it.
    bare_since: when runners were wanted and none was ready. trouble: why the last one did not get ready.
    """

    __slots__ = (
        "_struck", "bare_since", "cancelled", "demand", "members", "open_since", "pause_until", "proved", "proving",
        "shape", "short_since", "slots", "strikes", "told_at", "trouble", "waiting", "wanted",
    )  # fmt: skip

    def __init__(self, shape: Shape, slots: int, demand: Demand, open_since: float | None) -> None:
        self.shape = shape
        self.slots = slots
        self.demand = demand
        self.open_since = open_since
        self.wanted = 0
        self.short_since: float | None = None
        self.waiting: deque[tuple[NodeSpec, NodeTask]] = deque()
        self.cancelled = 0
        self.members: dict[int, Member] = {}
        self.strikes = 0
        self._struck = 0  # number of the newest runner at the last strike
        self.pause_until = 0.0
        self.told_at: float | None = None
        self.proved = self.proving = False
        self.bare_since: float | None = None
        self.trouble = "none has started yet"

    def prove(self) -> None:
        """Start one runner, wanted or not, to see whether they start here."""
        self.proving = not self.proved

    def admitted(self) -> None:
        self.proved, self.proving, self.bare_since = True, False, None

    def lacks(self, now: float) -> bool:
        """Nodes have waited for long, and no runner of it gets ready."""
        return bool(self.nodes) and self.bare_since is not None and now - self.bare_since >= LACK

    def purge(self, wanted: Container[int]) -> None:
        """Forget those that nobody waits for. wanted: ids of the others."""
        self.waiting = deque(each for each in self.waiting if each[1].id in wanted)
        self.cancelled = 0

    @property
    def nodes(self) -> int:
        """That wait, or are in runners that stay."""
        running = sum(len(each.tasks) for each in self.members.values() if not each.goes)
        return len(self.waiting) - self.cancelled + running

    def is_over(self, now: float) -> bool:
        """Nothing is lost with it. A pause after crashes outlives the node that caused them."""
        return not (self.nodes or self.members or self.wanted) and now >= self.pause_until

    def look(self, now: float) -> None:
        """Is anybody there for those that wait?"""
        is_bare = not any(each.ready_at is not None for each in self.members.values())
        self.short_since = (self.short_since or now) if is_bare and self.nodes else None
        self.bare_since = (self.bare_since or now) if is_bare and self.wanted else None
        if self.bare_since is not None and now - self.bare_since >= DOUBT:
            self.proved = False

    def follow(self, now: float) -> None:
        """As many runners as its demand says."""
        self.wanted = 0 if self.open_since is None else self.demand.update(max(self.nodes, self.proving), now)

    @property
    def missing(self) -> int:
        return self.wanted - sum(not each.goes for each in self.members.values())

    def call_back(self) -> None:
        """Those that leave stay, as far as runners are missing."""
        leaving = [each for each in self.members.values() if each.leaving and not each.ending and not each.retiring]
        for member in leaving[: self.missing]:
            member.leaving = False

    def slow(self, now: float) -> list[float]:
        """For how long each of those that do not start is awaited; once a minute, else nothing."""
        found = [now - each.born for each in self.members.values() if each.ready_at is None and not each.ending]
        if max(found, default=0.0) <= SLOW_START:
            self.told_at = None
        elif self.told_at is None or now - self.told_at >= TELL_AGAIN:
            self.told_at = now
            return found
        return []

    def strike(self, member: Member, now: float, newest: int) -> None:
        """A runner died. newest: number of the newest runner. Those of one generation count as one: one cause."""
        if member.ready_at is not None and now - member.ready_at >= YOUNG:
            self.strikes = 0
        elif member.number > self._struck:
            self._struck = newest
            self.strikes += 1
            longest = LONGEST_PAUSE if member.ready_at is None else PAUSE_AFTER_WORK
            pause = 0.0 if self.strikes == 1 else 0.5 * 2.0 ** min(self.strikes - 2, 10)
            self.pause_until = now + min(pause, longest)


def first_to_go(line: Iterable[Member], everybody: Collection[Member], count: int) -> list[Member]:
    """Which runners of a line go: those that the cluster has not given a place yet, else those on the node of the
    cluster that is emptied soonest: only one without runners can be given back."""
    runners = Counter(each.node for each in everybody if not each.ending)
    nodes: Counter[str] = Counter()
    for each in everybody:
        nodes[each.node] += len(each.tasks)

    def cost(member: Member) -> tuple[bool, int, int, str, int, int]:
        here = member.node
        return member.ready_at is not None, runners[here], nodes[here], here, len(member.tasks), member.number

    return sorted((each for each in line if not each.goes), key=cost)[:count]


def calls(batch: Sequence[tuple[NodeSpec, NodeTask]]) -> Iterator[tuple[list[NodeSpec], list[NodeTask]]]:
    """The arguments of as few submit() as hold the batch. Each brings the specs that it needs."""
    specs: dict[str, NodeSpec] = {}
    tasks: list[NodeTask] = []
    size = 0
    for spec, task in batch:
        weight = _weight(task) + (0 if spec.key in specs else 100 + len(spec.config))
        if tasks and size + weight > BATCH_BYTES:
            yield list(specs.values()), tasks
            specs, tasks, size = {}, [], 0
        specs[spec.key] = spec
        tasks.append(task)
        size += weight
    yield list(specs.values()), tasks


def _weight(task: NodeTask) -> int:
    """About how many bytes it takes on its way."""
    size = 150 if task.input is None else 150 + len(task.input)
    for _, text in task.nodes:
        size += len(text)
    for text in task.variables:
        size += len(text)
    for _, text in task.inputs:
        size += len(text)
    return size
