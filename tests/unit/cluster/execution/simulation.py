"""A whole execution without a database: events in, commands out, until it settles; with a crash after any commit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from dray.actors.messages import NodeResult, NodeTask
from dray.cluster.driver.large import UNREAD, wanted
from dray.cluster.execution.attempts import Policy
from dray.cluster.execution.commands import Abandon, Begin, Command, Committed, Dispatch, NodeDone, Record, Settle
from dray.cluster.execution.run import ExecutionRun
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Graph
from dray.store.records import Claimed, Kind, Outcome, Settlement, StoredOutcome

Handler = Callable[[NodeTask], NodeResult | Any]


class Simulation:
    """Runs one execution. handler: a task's result, or its output as a value. order: -1 = the latest dispatch first."""

    def __init__(
        self, graph: Graph, handler: Handler, policy: Policy | None = None, order: int = 0, given: str = '{"n":2}'
    ) -> None:
        self.graph = graph
        self.given = given
        self.handler = handler
        self.policy = policy or Policy(max_retries=0)
        self.order = order
        self.called: list[str] = []
        self.records: list[Outcome] = []
        self.abandoned: list[str] = []
        self.settled: Settlement | None = None

    def begin(self, stored: Sequence[Outcome] = ()) -> Simulation:
        self.run = ExecutionRun(Claimed("e1", 7, 1, 0, 0.0, self.given), self.graph, self.policy, jitter=lambda: 0.0)
        found = self.loaded(stored)
        self.waiting: list[Dispatch] = []
        self.tasks: dict[int, NodeTask] = {}
        self.take(self.run.handle(Begin(sorted(found, key=lambda o: (o.node_key, o.attempt))), 0.0))
        return self

    def loaded(self, stored: Sequence[Outcome]) -> list[StoredOutcome]:
        """What the claimer makes of it where all outcomes are large."""
        found = [
            StoredOutcome("e1", o.node_key, o.attempt, o.kind, o.branch, o.outcome, o.wait, o.outcome is not None)
            for o in stored
        ]
        read = wanted(self.graph, found)
        return [each if each in read or not each.large else each._replace(outcome=UNREAD) for each in found]

    def to_the_end(self) -> Simulation:
        while self.settled is None:
            assert self.waiting, "nothing runs and nothing is settled"
            dispatch = self.waiting.pop(self.order)
            task = self.tasks.pop(dispatch.node)
            self.called.append(task.node_key)
            assert UNREAD not in str(task)
            answer = self.handler(task)
            result = answer if isinstance(answer, NodeResult) else NodeResult(0, json.dumps(answer))
            self.take(self.run.handle(NodeDone(dispatch.node, dispatch.attempt, result), 0.0))
        return self

    def take(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Dispatch):
                self.waiting.append(command)
                self.tasks[command.node] = self.run.task(1, command.node, command.attempt, 0.0)  # at once, as a driver
            elif isinstance(command, Record):
                self.records.append(command.outcome)
                if command.number and self.settled is None:
                    self.take(self.run.handle(Committed(command.number), 0.0))
            elif isinstance(command, Settle):
                self.settled = command.settlement
            elif isinstance(command, Abandon):
                gone = [d for d in self.waiting if command.nodes is None or d.node in command.nodes]
                self.waiting = [d for d in self.waiting if d not in gone]

    def parked_again(self) -> bool:
        """Go on until it settles; if it only parks, begin again from what is stored, with all waits over."""
        self.to_the_end()
        if self.settled is None or self.settled.status != "waiting":
            return False
        self.settled = None
        self.begin([each._replace(wait=0.0 if each.wait else None) for each in self.records])
        return True

    @property
    def keys(self) -> list[str]:
        return [each.node_key for each in self.records]

    def output(self, key: str) -> Any:
        (found,) = [each.outcome for each in self.records if each.node_key == key and each.kind == Kind.COMPLETED]
        return json.loads(found or "null")


def with_crashes(
    graph: Graph, handler: Handler, policy: Policy | None = None, order: int = 0, given: str = '{"n":2}'
) -> Simulation:
    """Run it to the end, and again from every commit of that: it must end alike, and call nothing that is recorded."""
    whole = Simulation(graph, handler, policy, order, given).begin().to_the_end()
    assert whole.settled is not None
    for count in range(len(whole.records)):
        again = Simulation(graph, handler, policy, order, given).begin(whole.records[:count]).to_the_end()
        assert again.settled == whole.settled, count
        done = {each.node_key for each in whole.records[:count] if each.kind in "cf"}
        assert not done & set(again.called), "what is recorded is not called again"
        assert sorted([*done, *again.keys]) == sorted(whole.keys), count
    return whole


def stored(nodes: list[dict[str, Any]], edges: list[Any], **rest: Any) -> Graph:
    """A graph in the stored form, as short as it can be written. edges: "a b", or ("a b", label, role)."""
    needs = {"input": False, "nodes": [], "vars": [], "inputs": []}
    given = [{**each, "needs": {**needs, **each.get("needs", {})}} for each in nodes]
    written = []
    for each in edges:
        ends, label, role = (each, None, None) if isinstance(each, str) else (*each, None)[:3]
        source, target = ends.split()
        written.append({"from": source, "to": target, "label": label, **({"role": role} if role else {})})
    return load(7, "w", 1, {"format": 1, "entry": None, "nodes": given, "edges": written, **rest})
