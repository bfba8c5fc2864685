"""Drives the engine and the interpreter with the same answers, in random order, and says where they differ."""

from __future__ import annotations

import json
import random
from typing import Any

from dray.actors.messages import NodeTask
from dray.cluster.execution.commands import (
    Abandon,
    Begin,
    Command,
    Committed,
    Dispatch,
    Event,
    NodeDone,
    NodeLost,
    Record,
    SetTimer,
    Settle,
    TimerDue,
)
from dray.cluster.execution.run import ExecutionRun
from dray.store.records import Claimed, Kind, Outcome, Settlement, StoredOutcome
from tests.oracle.answers import Answers, loop_answer
from tests.oracle.case import INPUT, POLICY, Case, Difference, Refused, Skipped, where
from tests.oracle.parts import LOOPS, Unclear
from tests.oracle.reading import same

STEPS = 2_000


class Drive(Answers):
    """One execution of one graph, in both. seed: of the answers, and of the order in which they come."""

    def __init__(self, case: Case, seed: str, crashes: bool = True) -> None:
        self.case, self.seed = case, seed
        self.nodes, self.configs, self.stored, self.graph = case.nodes, case.configs, case.stored, case.graph
        self.random = random.Random(f"order {seed}")
        self.oracle = case.interpreter()
        self.crashing = crashes and self.random.random() < 0.5
        self.failing = self.random.choice([0.0, 0.05, 0.2])  # how often a node fails
        self.late = self.random.random() < 0.3  # whether commits come later than answers
        self.trace: list[str] = []
        self.log: list[Outcome] = []
        self.events: list[tuple[Any, ...]] = []  # what the oracle was told, and is told again after a crash
        self.committed = 0  # how many of them
        self.over: set[tuple[str, int]] = set()  # waits whose time has come
        self.settled: Settlement | None = None
        self.now = 0.0

    def run(self) -> None:
        try:
            self.begin()
            for _ in range(STEPS):
                self.decide_loops()
                if not self.pending:
                    self.check()
                if self.settled and self.settled.status != "waiting":
                    return
                self.step()
            raise Difference("it does not end")
        except (Difference, Unclear, Skipped, Refused):
            raise
        except Exception as error:
            raise Difference(where(error)) from error

    # The engine

    def begin(self) -> None:
        self.run_of = ExecutionRun(Claimed("e", 1, 1, 0, 0.0, json.dumps(INPUT)), self.graph, POLICY, lambda: 1.0)
        self.out: dict[str, tuple[Dispatch, NodeTask]] = {}
        self.timers: dict[str, tuple[int, float]] = {}
        self.pending: list[tuple[list[Record], int]] = []
        self.settled = None
        self.answered: list[tuple[str, NodeDone]] = []
        stored = [
            StoredOutcome("e", o.node_key, o.attempt, o.kind, o.branch, o.outcome,
                          None if o.wait is None else -1.0 if (o.node_key, o.attempt) in self.over else 1.0)
            for o in self.log
        ]  # fmt: skip
        self.started = [o.node_key for o in self.log if o.kind == Kind.STARTED]
        self.send(Begin(sorted(stored, key=lambda o: (o.node_key, o.attempt))))

    def send(self, event: Event) -> list[Record]:
        """Everything that the engine wants recorded is pending until commit() is called."""
        commands = self.run_of.handle(event, self.now)
        records = [each for each in commands if isinstance(each, Record)]
        self.take([each for each in commands if not isinstance(each, Record | Settle)])
        settle = [each for each in commands if isinstance(each, Settle)]
        if records:
            self.pending.append((records, len(self.events)))
        if settle:
            self.commit()
            self.settled = settle[0].settlement
            self.out.clear()
        return records

    def take(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Dispatch):
                task = self.run_of.task(1, command.node, command.attempt, self.now)
                if task.node_key in self.out:
                    raise Difference(f"{task.node_key} is dispatched twice")
                self.out[task.node_key] = (command, task)
            elif isinstance(command, SetTimer) and command.node is not None and not self.run_of.closed:
                self.timers[self.run_of.scopes.key(command.node)] = (command.node, self.now + command.seconds)
            elif isinstance(command, Abandon):
                for key, (dispatch, _) in list(self.out.items()):
                    if command.nodes is None or dispatch.node in command.nodes:
                        del self.out[key]

    def commit(self) -> None:
        while self.pending:
            records, told = self.pending.pop(0)
            self.log += [each.outcome for each in records]
            self.catch_up(told)
            if not self.run_of.closed:
                self.send(Committed(max(each.number for each in records)))

    def kind(self, key: str) -> str:
        return str(self.nodes[key.rpartition("/")[2].partition("[")[0]]["type"])

    # The two side by side

    def tell(self, what: str, *details: Any) -> None:
        """The oracle hears of it when it is committed."""
        self.events.append((what, *details))
        self.trace.append(f"{what} {details[0]}")

    def catch_up(self, told: int) -> None:
        for what, key, *details in self.events[self.committed : told]:
            if key not in self.oracle.running() and key not in self.oracle.pausing():
                raise Skipped("an answer is committed together with what cancels its node: either may come first")
            getattr(self.oracle, what)(key, *details)
        self.committed = max(self.committed, told)

    def expected(self) -> set[str]:
        return set(self.oracle.running())

    def check(self) -> None:
        if self.settled is not None and self.settled.status != "waiting":
            return self.check_end()
        if self.oracle.end is not None:
            raise Difference(f"it should have ended: {self.oracle.end}; engine: {sorted(self.out)}")
        running, waiting = set(self.out), self.pausing()
        if running != self.expected():
            raise Difference(f"engine runs {sorted(running)}, page {sorted(self.expected())}")
        if self.settled is not None:
            if running or not self.oracle.pausing():
                raise Difference("it parked")
        elif waiting != self.oracle.pausing():
            raise Difference(f"engine waits with {sorted(waiting)}, page with {sorted(self.oracle.pausing())}")
        return None

    def pausing(self) -> set[str]:
        live = self.run_of.due if self.settled is None else {}
        return {self.run_of.scopes.key(node) for node in live}

    def check_end(self) -> None:
        assert self.settled is not None
        end = self.oracle.end
        error = json.loads(self.settled.error) if self.settled.error else None
        if end is None:
            raise Difference(f"engine ended as {self.settled.status} {error}; page runs {sorted(self.expected())}, "
                             f"waits with {sorted(self.oracle.pausing())}")  # fmt: skip
        if end.status != self.settled.status:
            raise Difference(f"engine ended as {self.settled.status} {error}, page: {end}")
        if end.error is not None:
            wanted = (end.error.type, end.error.node)
            found = (error["type"], error.get("node"))
            if wanted != found:
                raise Difference(f"engine failed with {found}, page {wanted}")
        elif not same(end.output, found := self.output()):
            raise Difference(f"engine's output is {found}, page's {end.output}")
        self.check_loops()

    def output(self) -> Any:
        edges = self.stored["edges"]
        ends = [each["id"] for each in self.stored["nodes"] if each["type"] not in ("break", "continue")]
        ends = [each for each in ends if not any(e["from"] == each and e.get("role") != "body" for e in edges)]
        inside = {each for region in self.stored.get("regions", []) for each in region["nodes"]}
        ends = [each for each in ends if each not in inside]
        found = {
            each.node_key: INPUT if each.outcome is None else json.loads(each.outcome)
            for each in self.log
            if each.kind in (Kind.COMPLETED, Kind.WAITS_FOR_TIME) and each.node_key in ends
        }
        return found.get(ends[0]) if len(ends) == 1 else found

    def check_loops(self) -> None:
        for each in self.log:
            node = each.node_key.rpartition("/")[2]
            if each.kind == Kind.COMPLETED and node in self.nodes and self.nodes[node]["type"] in LOOPS:
                scope, _ = self.oracle.whereabouts(each.node_key)
                found = json.loads(each.outcome or "null")
                wanted = scope.output.get(node)
                if not same(wanted, found):
                    raise Difference(f"output of {each.node_key}: engine {found}, page {wanted}")

    # What happens

    def step(self) -> None:
        waiting = sorted(self.oracle.pausing())
        if self.settled is not None:  # parked
            return self.crash(self.random.choice(waiting))
        kinds = ["answer"] * 8 * bool(self.out) + ["due"] * 4 * bool(self.timers and not self.pending and waiting)
        if self.crashing:
            kinds += ["crash"] * (self.in_doubt() < 2) + ["lost"] * bool(self.out) + ["again"] * bool(self.answered)
        if self.pending:
            kinds += ["commit"] * 6
        if not kinds:
            raise Difference("nothing runs and nothing is settled")
        what = self.random.choice(kinds)
        if what == "due":
            self.due(self.random.choice(waiting))
        else:
            getattr(self, what)()
        if not self.late:
            self.commit()
        return None

    def due(self, key: str) -> None:
        if key not in self.timers:
            raise Difference(f"no timer for {key}")
        node, at = self.timers.pop(key)
        self.now = max(self.now, at)
        self.came(key)
        self.send(TimerDue(node))

    def lost(self) -> None:
        key = self.random.choice(sorted(self.out))
        dispatch, _ = self.out.pop(key)
        self.tell("lost", key)
        self.send(NodeLost(dispatch.node, dispatch.attempt, "killed", True))

    def again(self) -> None:
        """An answer that was heard is delivered again; where its node is live the driver itself drops it."""
        key, done = self.random.choice(self.answered)
        if done.node not in self.run_of.scopes.live and self.send(done):
            raise Difference(f"the answer of {key} was heard twice")

    def crash(self, due: str | None = None) -> None:
        """The driver dies; another one begins from what is committed."""
        self.trace.append(f"crash, due: {due}")
        del self.events[self.committed :]
        self.oracle = self.case.interpreter()
        told, self.committed = self.committed, 0
        self.catch_up(told)
        if due is not None:
            self.came(due)
        done = {o.node_key for o in self.log if o.kind in (Kind.COMPLETED, Kind.FAILED, Kind.WAITS_FOR_TIME)}
        latest = {o.node_key: o.kind for o in self.log}
        for key in sorted(k for k, kind in latest.items() if kind == Kind.STARTED and k not in done):
            if key in self.oracle.running():
                self.tell("lost", key)
                self.catch_up(len(self.events))
        self.begin()
        self.commit()

    def in_doubt(self) -> int:
        """Nodes that may run once only and are on their way: which of several fails first after a crash is not said."""
        return sum(bool(self.nodes[key.rpartition("/")[2]].get("at_most_once")) for key in self.oracle.running())

    def came(self, key: str) -> None:
        """The time that it waits for: for good, whatever crashes."""
        self.over.add((key, max(each.attempt for each in self.log if each.node_key == key)))
        self.tell("due", key)
        self.catch_up(len(self.events))

    def decide_loops(self) -> None:
        """Their handlers only look at expressions; the page has no such step."""
        while found := [key for key in self.out if self.kind(key) in LOOPS]:
            dispatch, task = self.out.pop(found[0])
            answer = loop_answer(self.configs[task.spec.partition(":")[2]], self.kind(task.node_key), task)
            self.send(NodeDone(dispatch.node, dispatch.attempt, answer))
            self.commit()

    def answer(self) -> None:
        key = self.random.choice(sorted(self.out))
        dispatch, task = self.out.pop(key)
        if key not in self.oracle.running():
            raise Difference(f"engine runs {key}, page {sorted(self.expected())}")
        what, details, result = self.reply(key, task)
        self.tell(what, key, *details)
        done = NodeDone(dispatch.node, dispatch.attempt, result)
        records = self.send(done)
        self.answered.append((key, done))
        if not any(each.outcome.node_key == key for each in records):
            raise Difference(f"the answer of {key} is not recorded")
