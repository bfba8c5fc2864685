"""Which nodes of a region may run now: a fold of outcomes. Pure, and cheap: an outcome costs the edges it touches.

In a scope each edge is open, taken or dead. A finished node takes some of its edges and kills the others:

    completed           takes the edges without a label, and of a node that selects those with the label that it
                        answered; kills the rest
    failed              takes the edges labelled "failed", kills the rest
    ended (a loop)      takes its exits as its last turn took them, and the edges without a label unless it was left
                        by an exit

A node all of whose incoming edges are decided is ready if one was taken; else it is skipped, and its own edges die. So
a join never dead-locks and runs once. Skips are derived, never stored. Outcomes may come in any order and more than
once: the same set of them gives the same state.

Where a node asks for it, each taken edge also carries the failure that led there: that of the node it leaves, or what
had led to that node.

A fork that waits for some of its branches only decides a join earlier: once enough have arrived there, what is still
open of the branches is dropped. A failure inside is borne while enough can still arrive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from dray.cluster.graph.types import BACK, EXIT, LOOPS, Fork, Region

PENDING, READY, COMPLETED, FAILED, SKIPPED = range(5)


class Told(NamedTuple):
    """A failure that led somewhere; of several the greatest counts. direct: over the edge of the node that failed.
    rank: of that node in the region. error: its text."""

    direct: bool
    rank: int
    error: str


Exits = Mapping[int, Told | None]  # numbers of exits that were taken -> the failure that led out there


class Plan:
    """The state of one scope's nodes. active: nodes that are ready and not finished; 0 = nothing is left to run.

    left: the ways out that were taken, as Edge.target has them, and the failure that led there; backs: the edges of
    those that lead back. told: node -> the failure that led to it. dropped: nodes that need not run or go on any more.
    short: a fork of which not enough branches can arrive, and the join where they do not.
    """

    __slots__ = (
        "_carried", "_failures", "_forks", "_open", "_past", "_taken", "active", "backs", "dropped", "left", "region",
        "short", "state", "told",
    )  # fmt: skip

    def __init__(self, region: Region) -> None:
        self.region = region
        self.state = bytearray(len(region.nodes))
        self._open = list(region.indegree)
        self._taken = bytearray(len(region.nodes))
        self._forks = [_ForkState(fork) for fork in region.forks]
        self._past: set[int] = set()  # where there are forks: edges that are decided, or need not be any more
        self.active = 0
        self.left: dict[int, Told | None] = {}
        self.backs: list[int] = []
        self.told: dict[int, Told] = {}
        self._failures: dict[int, Told] = {}  # node -> what it tells over its error edges
        self._carried: dict[int, Told] = {}  # edge of a loop's node -> the failure that led out there
        self.dropped: list[int] = []
        self.short: tuple[Fork, int] | None = None

    def start(self) -> list[int]:
        """The nodes that a scope begins with. A loop takes its body edges, so a join in the body still waits."""
        region = self.region
        ready = []
        for node in region.starts:
            if region.kind in LOOPS:
                self._open[node] -= 1
                self._taken[node] = 1
                if self._open[node]:
                    continue
            if self._make_ready(node):
                ready.append(node)
        for node in region.never:
            self.state[node] = SKIPPED
        return ready + self._decide([(edge, False) for node in region.never for edge in region.out[node]])

    def completed(self, node: int, branch: str | None = None) -> list[int]:
        """Take in that a node completed; gives the nodes that became ready by it. branch: the label it answered."""
        if not self._finish(node, COMPLETED):
            return []
        edges = self.region.edges
        taken = (None, branch) if self.region.nodes[node].selects else (None,)
        return self._decide([(edge, edges[edge].label in taken) for edge in self.region.out[node]])

    def failed(self, node: int, error: str = "") -> list[int]:
        """Take in that a node failed for good; gives the nodes that its error edges made ready."""
        if not self._finish(node, FAILED):
            return []
        if self.region.rank:
            self._failures[node] = Told(True, self.region.rank[node], error)
        edges = self.region.edges
        decided = [(edge, edges[edge].label == "failed") for edge in self.region.out[node]]
        fork = self.region.nodes[node].fork
        if fork is not None and not any(taken for _, taken in decided) and self._leads(fork, node):
            self._forks[fork].failures += 1
        return self._decide(decided)

    def ended(self, node: int, exits: Exits, done: bool) -> list[int]:
        """Take in that the loop which a node stands for is over."""
        if not self._finish(node, COMPLETED):
            return []
        edges = self.region.edges
        self.carry(node, exits)
        return self._decide(
            [
                (edge, done if edges[edge].label is None else edges[edge].label in exits)
                for edge in self.region.out[node]
            ]
        )

    def carry(self, node: int, exits: Exits) -> None:
        """Note what failures led out of the loop that a node stands for."""
        if self.region.rank and any(exits.values()):
            for edge in self.region.out[node]:
                label = self.region.edges[edge].label
                if type(label) is int and (told := exits.get(label)):
                    self._carried[edge] = told._replace(rank=self.region.rank[node])

    def leave(self, node: int, exits: Exits) -> None:
        """Of a loop in a turn that is left altogether: what led out of both."""
        self.carry(node, exits)
        for edge in self.region.out[node]:
            if self.region.edges[edge].label in exits and self.region.edges[edge].target <= EXIT:
                self._tell(edge, self.region.edges[edge].target)

    @property
    def exits(self) -> Exits:
        """Those that were taken."""
        return {EXIT - target: told for target, told in self.left.items() if target <= EXIT} if self.left else {}

    def catches(self, node: int) -> bool:
        """Whether an error edge leaves the node, or its fork bears it, so that its failure is not the scope's."""
        fork = self.region.nodes[node].fork
        if fork is not None and self._began(self.region.forks[fork]):
            return True
        edges = self.region.edges
        return any(edges[edge].label == "failed" for edge in self.region.out[node])

    def arrivals(self, node: int) -> list[int]:
        """Of a join that waits for some branches: the nodes that arrived, in that order."""
        return next((fork.joins[node].arrived for fork in self._forks if node in fork.joins), [])

    def late(self, node: int) -> set[int]:
        """Of such a join: the nodes that came there, of branches that are not there as a whole."""
        found = [fork.joins[node] for fork in self._forks if node in fork.joins]
        return {each for at in found for open_, came in zip(at.open, at.came, strict=True) if open_ for each in came}

    def ready(self) -> list[int]:
        """All nodes that are ready and not finished."""
        return [node for node, state in enumerate(self.state) if state == READY]

    def _make_ready(self, node: int) -> bool:
        if self.state[node] != PENDING:
            return False
        self.state[node] = READY
        self.active += 1
        return True

    def _finish(self, node: int, state: int) -> bool:
        before = self.state[node]
        if before >= COMPLETED:
            return False
        if before == READY:
            self.active -= 1
        self.state[node] = state
        return True

    def _decide(self, decided: list[tuple[int, bool]]) -> list[int]:
        """Decide edges, and all that follows from it; gives the nodes that became ready."""
        ready: list[int] = []
        edges, open_, out = self.region.edges, self._open, self.region.out
        for edge, taken in decided:  # grows while it is walked: the edges of skipped nodes are put behind
            target = edges[edge].target
            if target < 0:
                if taken:
                    self._tell(edge, target)
                    if target == BACK:
                        self.backs.append(edge)
                continue
            if taken and self.region.rank:
                self._tell(edge, target)
            if not self._forks or self._counts(edge, target, taken, decided):
                open_[target] -= 1
                if taken:
                    self._taken[target] = 1
            if open_[target]:
                continue
            if self._taken[target]:
                if self._make_ready(target):
                    ready.append(target)
            elif self.state[target] == PENDING and (self.short is None or self.short[1] != target):
                self.state[target] = SKIPPED
                decided.extend((each, False) for each in out[target])
        return [node for node in ready if self.state[node] == READY] if self._forks else ready

    def _tell(self, edge: int, target: int) -> None:
        """An edge is taken: what failure does it carry?"""
        source = self.region.edges[edge].source
        told = None
        if self.region.rank:
            told = self._carried.get(edge) or self._failures.get(source)
            if told is None and (led := self.told.get(source)) is not None:
                told = led._replace(direct=False)
        if target < 0:
            before = self.left.get(target)
            self.left[target] = told if before is None or (told is not None and told > before) else before
        elif told is not None:
            self.told[target] = max(told, self.told.get(target, told))

    # Forks that wait for some of their branches

    def _began(self, fork: Fork) -> bool:
        """Whether its branches did: where it was skipped or failed, what runs in them is none of its branches."""
        return self.state[fork.node] == COMPLETED

    def _leads(self, fork: int, node: int) -> bool:
        """Whether the node is on the way to where the branches meet."""
        return node not in self.region.forks[fork].asides

    def _counts(self, edge: int, target: int, taken: bool, decided: list[tuple[int, bool]]) -> bool:
        """Whether the edge counts for its target: one of a branch that is late, after enough others, does not."""
        counts = edge not in self._past
        self._past.add(edge)
        for fork in self._forks:
            branch = fork.fork.joins.get(target, {}).get(edge)
            if branch is None or target in fork.settled or not self._began(fork.fork):
                continue
            at = fork.joins[target]
            at.decided(branch, self.region.edges[edge].source if taken else None)
            if at.count >= fork.fork.wait:
                others = fork.fork.joins[target].keys() - self._past
                self._past |= others
                self._open[target] -= len(others)
                fork.settled.add(target)
                if len(fork.settled) == len(fork.joins):
                    self._drop(fork, decided)
            elif self.short is None and fork.failures and at.count + sum(map(bool, at.open)) < fork.fork.wait:
                self.short = fork.fork, target
        return counts

    def give_up(self, fork: Fork, join: int) -> list[int]:
        """Not enough branches can arrive at the join, so the others need not either, and the join is to fail. Gives the
        nodes that became ready, which other joins may be."""
        state = next(each for each in self._forks if each.fork is fork)
        state.settled.update(fork.joins)
        self._past.update(fork.joins[join])
        decided: list[tuple[int, bool]] = []
        self._drop(state, decided)
        return self._decide(decided)

    def _drop(self, fork: _ForkState, decided: list[tuple[int, bool]]) -> None:
        """The branches need not go on, but for what hangs aside from one that arrived."""
        arrived = {node for join in fork.joins.values() for node in join.arrived}
        for node in fork.fork.nodes:
            if (ends := fork.fork.asides.get(node)) and not arrived.isdisjoint(ends):
                continue
            if self.state[node] in (PENDING, READY):
                if self.state[node] == READY:
                    self.active -= 1
                    self.dropped.append(node)
                self.state[node] = SKIPPED
                decided.extend((each, False) for each in self.region.out[node])


class _ForkState:
    __slots__ = ("failures", "fork", "joins", "settled")

    def __init__(self, fork: Fork) -> None:
        self.fork = fork
        self.failures = 0
        self.settled: set[int] = set()  # joins for which enough arrived
        self.joins = {join: _Arrivals(edges) for join, edges in fork.joins.items()}


class _Arrivals:
    """The branches of a fork at one join. One that has several edges there has arrived when all of them are decided and
    one was taken. open: per branch, its edges that are not decided; came: the nodes whose edges were taken.

    count: branches that arrived. arrived: the nodes by which they did, in that order.
    """

    __slots__ = ("arrived", "came", "count", "open")

    def __init__(self, edges: Mapping[int, int]) -> None:
        branches = Counter(edges.values())
        self.open = [branches[each] for each in range(max(branches, default=-1) + 1)]
        self.came: list[list[int]] = [[] for _ in self.open]
        self.arrived: list[int] = []
        self.count = 0

    def decided(self, branch: int, source: int | None) -> None:
        """Of one of its edges. source: None = it died."""
        self.open[branch] -= 1
        if source is not None:
            self.came[branch].append(source)
        if not self.open[branch] and self.came[branch]:
            self.arrived += self.came[branch]
            self.count += 1
