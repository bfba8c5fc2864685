"""No node is started before the commit that holds the outcomes of its predecessors, in whatever order things happen."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

from dray.actors.messages import NodeFailure, NodeResult
from dray.cluster.errors import GraphInvalid
from dray.cluster.execution.attempts import Policy
from dray.cluster.execution.commands import (
    Abandon,
    Begin,
    Command,
    Committed,
    Dispatch,
    News,
    NodeDone,
    NodeLost,
    Record,
    SetTimer,
    Settle,
    TimerDue,
)
from dray.cluster.execution.run import ExecutionRun
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from dray.store.records import Claimed, Kind, Outcome, Signal, StoredOutcome
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node

POLICY = Policy(max_retries=2, retry_delay=5.0, crash_limit=5)


class World:
    """A driver, a database and runners around one execution; `pick` says what happens next. Knows only the graph as it
    was written: what has answered, what is committed, and what must come before what."""

    def __init__(self, source: Any, pick: random.Random) -> None:
        self.graph = load(7, "w", 1, canonical(source, HANDLERS))
        self.pick = pick
        self.now = 0.0
        self.before: dict[str, set[str]] = defaultdict(set)
        for each in source["edges"]:
            self.before[each["to"]].add(each["from"])
        self.before = {each: _all_before(each, self.before) for each in self.before}
        self.types = {each["id"]: each["type"] for each in source["nodes"]}
        self.forks = any("parallel_wait_mode" in each for each in source["nodes"])
        self.answered: set[str] = set()  # keys
        self.stored: list[tuple[Outcome, float]] = []
        self.unwritten: list[Record] = []
        self.running: list[tuple[str, Dispatch]] = []
        self.timers: list[tuple[float, int | None]] = []
        self.signals: list[Signal] = []
        self.over = False
        self.parked: float | None = None
        self.dispatched = self.numbers = 0
        self.begin()

    def begin(self) -> None:
        self.run = ExecutionRun(Claimed("e1", 7, 1, 0, 0.0, "{}"), self.graph, POLICY, jitter=lambda: 1.0)
        found = [
            StoredOutcome(*each[:6], None if each.wait is None else at + each.wait - self.now)
            for each, at in self.stored
        ]
        found.sort(key=lambda each: (each.node_key, each.attempt))
        self.running, self.timers, self.unwritten = [], [], []
        self.take(self.run.handle(Begin(found, list(self.signals)), self.now))

    def take(self, commands: Iterable[Command]) -> None:
        for command in commands:
            if isinstance(command, Dispatch):
                self.check(command)
                self.running.append((self.run.scopes.key(command.node), command))
            elif isinstance(command, Record):
                self.unwritten.append(command)
                if command.outcome.kind in (Kind.COMPLETED, Kind.FAILED, Kind.WAITS_FOR_TIME):
                    self.answered.add(command.outcome.node_key)
            elif isinstance(command, SetTimer):
                self.timers.append((self.now + command.seconds, command.node))
            elif isinstance(command, Abandon):
                self.running = [e for e in self.running if command.nodes is not None and e[1].node not in command.nodes]
            elif isinstance(command, Settle):
                end = command.settlement
                self.commit(len(self.unwritten))
                self.over = end.status != "waiting"
                self.parked = self.now + (0.0 if end.wake_in is None else end.wake_in)

    def check(self, command: Dispatch) -> None:
        self.dispatched += 1
        key = self.run.scopes.key(command.node)
        committed = {each.node_key for each, _ in self.stored}
        owed = {each for each in self.answered - committed if self.comes_before(each, key)}
        owed = {each for each in owed if self.types[_id(each)] not in ("try", "continue")}  # which store nothing new
        # A join that does not wait for all of them may follow from one branch: what it is given is looked at below.
        owed = set() if self.forks else owed
        assert not owed, f"{key} was started before the commit of {owed}"
        task = self.run.task(1, command.node, command.attempt, self.now)
        assert set(re.findall(r'"by":"([^"]+)"', str(task))) <= committed, key

    def comes_before(self, other: str, key: str) -> bool:
        """Whether a node that is `other` must be over before `key` can begin: in its own turn of a loop, or outside."""
        if _id(other) not in self.before.get(_id(key), ()):
            return False
        mine, its = key.rpartition("/")[0], other.rpartition("/")[0]
        return mine == its or not its or not mine

    def commit(self, count: int) -> None:
        written, self.unwritten = self.unwritten[:count], self.unwritten[count:]
        self.stored += [(each.outcome, self.now) for each in written]
        taken = {each.signal for each in written}
        self.signals = [each for each in self.signals if each.id not in taken]
        if written and not self.run.closed:
            self.take(self.run.handle(Committed(written[-1].number), self.now))

    def wake(self, at: float) -> None:
        """Somebody else's signal may do it before the time."""
        self.parked = None
        self.new_signal(self.pick.choice(["go", "no"]))
        self.now = max(self.now, self.pick.choice([at, at, self.now]))
        self.begin()

    def new_signal(self, name: str) -> None:
        self.numbers += 1
        self.signals.append(Signal(self.numbers, "e1", name, None, "1"))

    def step(self) -> None:
        if self.parked is not None:
            self.wake(self.parked)
            return
        kinds = [self.answer] * 4 * bool(self.running) + [self.write] * 3 * bool(self.unwritten)
        kinds += [self.wait_for_timers] * bool(self.timers) + [self.lose] * bool(self.running) + [self.signal]
        self.pick.choice(kinds)()

    def write(self) -> None:
        self.commit(self.pick.randint(1, len(self.unwritten)))

    def answer(self) -> None:
        key, dispatch = self.running.pop(self.pick.randrange(len(self.running)))
        result = NodeResult(0, f'{{"by":"{key}"}}')
        if key.endswith("[]"):
            result = NodeResult(0, '{"items":[1,2,3]}')
        elif self.types[_id(key)] == "condition":
            result = result._replace(branch=self.pick.choice(["true", "false"]))
        else:
            lot = self.pick.randrange(10)
            if lot == 0:
                result = result._replace(wait=self.pick.choice([0.2, 2.0]))
            elif lot == 1:
                result = NodeResult(0, awaits='{"signal":"go"}', wait=self.pick.choice([None, 1.0]))
            elif lot == 2:
                retry = self.pick.random() < 0.8
                result = NodeResult(0, failure=NodeFailure("Boom", "no", retryable=retry))
        self.take(self.run.handle(NodeDone(dispatch.node, dispatch.attempt, result), self.now))

    def lose(self) -> None:
        if self.pick.random() < 0.2:
            _, dispatch = self.running.pop(self.pick.randrange(len(self.running)))
            crash = self.pick.random() < 0.5
            self.take(self.run.handle(NodeLost(dispatch.node, dispatch.attempt, "gone", crash), self.now))

    def wait_for_timers(self) -> None:
        self.timers.sort(key=lambda each: each[0])
        at, slot = self.timers.pop(0)
        self.now = max(self.now, at)
        self.take(self.run.handle(TimerDue(slot), self.now))

    def signal(self) -> None:
        self.new_signal("go")
        self.take(self.run.handle(News(list(self.signals)), self.now))


def _id(key: str) -> str:
    return key.rpartition("/")[2].partition("[")[0]


def _all_before(found: str, before: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [found]
    while todo:
        for each in before.get(todo.pop(), ()):
            if each not in seen:
                seen.add(each)
                todo.append(each)
    return seen - {found}


def random_graph(pick: random.Random) -> Any:
    """A graph without cycles of plain nodes, tries, forks that wait for one branch, and foreach loops of three items of
    which some end with `continue`. Some nodes name the outputs of nodes before them."""
    count = pick.randint(3, 8)
    ids = [f"n{index}" for index in range(count)]
    nodes: list[dict[str, Any]] = [node("s")]
    edges: list[Any] = []
    ends = {"s": [("s", None)]}
    kinds = ["plain"] * 5 + ["try", "foreach"] + pick.choice([[], [], ["any", "any"]])
    for position, each in enumerate(ids):
        earlier = ["s", *ids[:position]]
        ways = pick.sample(earlier, min(len(earlier), pick.choice([1, 1, 2, 3])))
        for source in ways:
            edges += [edge(end, each, label) for end, label in ends[source]]
        named = {f"p{n}": f"{{{{ nodes.{other}.output }}}}" for n, other in enumerate(ways) if other in ("s", *ids)}
        kind = pick.choice(kinds)
        ends[each] = [(each, None)]
        if kind == "foreach":
            nodes.append(node(each, "foreach", array_expression="input.x", max_parallel=pick.choice([2, 3])))
            nodes += [
                node(f"{each}c", "condition", condition="input.x"),
                node(f"{each}k", "continue"),
                node(f"{each}w"),
            ]
            edges += [edge(each, f"{each}c", "body"), edge(f"{each}c", f"{each}k", "true")]
            edges += [edge(f"{each}c", f"{each}w", "false"), edge(f"{each}w", each)]
            ends[each] = [(each, "done")]
        elif kind == "any":
            nodes.append({**node(each, **named), "parallel_wait_mode": "any"})
        else:
            nodes.append(node(each, "try") if kind == "try" else node(each, **named))
    return graph(nodes, edges)


def test_what_is_started_follows_from_what_is_committed() -> None:
    refused = dispatched = 0
    for seed in range(300):
        pick = random.Random(seed)
        source = random_graph(pick)
        try:
            world = World(source, pick)
        except GraphInvalid:
            refused += 1
            continue
        for _ in range(400):
            if world.over:
                break
            try:
                world.step()
            except Exception as error:
                raise AssertionError(f"seed {seed}: {source}") from error
        dispatched += world.dispatched
    assert refused < 100
    assert dispatched > 2_500


def begun(source: Any) -> ExecutionRun:
    run = ExecutionRun(
        Claimed("e1", 7, 1, 0, 0.0, "{}"), load(7, "w", 1, canonical(source, HANDLERS)), POLICY, jitter=lambda: 1.0
    )
    run.handle(Begin(), 0.0)
    return run


def done(run: ExecutionRun, slot: int, output: str = "1", now: float = 0.0, **rest: Any) -> list[Command]:
    return run.handle(NodeDone(slot, 1, NodeResult(0, output, **rest)), now)


def test_a_wait_that_is_over_starts_no_join_whose_other_predecessor_is_not_committed() -> None:
    ways = [*chain("s", "a", "j"), *chain("s", "w", "j"), *chain("s", "long")]
    run = begun(graph([node(each) for each in ("s", "a", "w", "j", "long")], ways))
    done(run, 0)
    assert run.handle(Committed(1), 0.0) == [Dispatch(1, 1), Dispatch(2, 1), Dispatch(4, 1)]
    done(run, 2, wait=3.0)
    assert run.handle(Committed(2), 0.0) == [SetTimer(2, 3.0)]
    done(run, 1, now=2.0)
    assert run.handle(TimerDue(2), 3.0) == [], "a is not in the database"
    assert run.handle(Committed(3), 6.0) == [Dispatch(3, 1)]


def test_a_try_starts_no_join_whose_other_predecessor_is_not_committed() -> None:
    nodes = [node("s"), node("a"), node("b"), node("t", "try"), node("j")]
    run = begun(graph(nodes, [*chain("s", "a", "j"), *chain("s", "b", "t", "j")]))
    done(run, 0)
    run.handle(Committed(1), 0.0)
    done(run, 2)
    done(run, 1)
    assert not [each for each in run.handle(Committed(2), 0.0) if isinstance(each, Dispatch)], (
        "a is not in the database"
    )
    assert run.handle(Committed(3), 0.0) == [Dispatch(4, 1)]


def test_an_item_that_ends_by_continue_ends_no_loop_before_the_commit_of_another_item() -> None:
    nodes = [
        node("l", "foreach", array_expression="input.x", max_parallel=2),
        node("c", "condition", condition="input.x"),
    ]
    nodes += [node("k", "continue"), node("w"), node("after")]
    ways = [edge("l", "c", "body"), edge("c", "k", "true"), edge("c", "w", "false"), edge("w", "l")]
    run = begun(graph(nodes, [*ways, edge("l", "after", "done")]))
    done(run, 0, '{"items":[1,2]}')
    first, second = [each.node for each in run.handle(Committed(1), 0.0) if isinstance(each, Dispatch)]
    done(run, first, branch="false")
    (work,) = [each.node for each in run.handle(Committed(2), 0.0) if isinstance(each, Dispatch)]
    done(run, second, branch="true")
    done(run, work)
    commands = run.handle(Committed(3), 0.0)
    assert not [each for each in commands if isinstance(each, Dispatch)], "the item that worked is not in the database"
    last = [each for each in commands if isinstance(each, Record)][-1]
    assert [each.node for each in run.handle(Committed(last.number), 0.0) if isinstance(each, Dispatch)]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_what_is_recorded_meanwhile_holds_nothing_that_was_decided_before(order: tuple[int, int]) -> None:
    run = begun(graph([node(each) for each in "sabxy"], [*chain("s", "a", "x"), *chain("s", "b", "y")]))
    done(run, 0)
    run.handle(Committed(1), 0.0)
    for slot in order:
        done(run, slot)
    assert run.handle(Committed(2), 0.0) == [Dispatch({1: 3, 2: 4}[order[0]], 1)]
    assert run.handle(Committed(3), 0.0) == [Dispatch({1: 3, 2: 4}[order[1]], 1)]


def test_what_is_started_beside_a_continue_of_the_same_turn_is_not_started() -> None:
    nodes = [node("l", "foreach", array_expression="input.x"), node("c"), node("w"), node("k", "continue"), node("v")]
    ways = [edge("l", "c", "body"), *chain("c", "w", "l"), *chain("c", "k"), *chain("c", "v", "l")]
    run = begun(graph(nodes, ways))
    done(run, 0, '{"items":[1]}')
    (first,) = [each.node for each in run.handle(Committed(1), 0.0) if isinstance(each, Dispatch)]
    done(run, first)
    commands = run.handle(Committed(2), 0.0)
    assert not [each for each in commands if isinstance(each, Dispatch)]
    assert [each.settlement.status for each in commands if isinstance(each, Settle)] == ["completed"]
