"""Carries out what executions have decided: gives it to the pool, the timers, and once per turn to the committer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from dray.actors.pool.pool import Pool
from dray.actors.pool.shapes import Shape, Shapes
from dray.cluster.driver.committer import Entry
from dray.cluster.driver.timers import Timers
from dray.cluster.execution.commands import Abandon, Command, Dispatch, Record, SetTimer, Settle
from dray.cluster.execution.run import ExecutionRun
from dray.store.records import Kind


class Hands:
    """tasks: what runs, or waits in the pool: number -> run, node, attempt. entries: of this turn, for the committer.

    draining: nothing new begins.
    """

    pool: Pool

    def __init__(self, default: Shape) -> None:
        self.tasks: dict[int, tuple[ExecutionRun, int, int]] = {}
        self.entries: list[Entry] = []
        self.timers = Timers()
        self.draining = False
        self._withheld: set[tuple[str, str]] = set()  # since then: execution and node whose start was not recorded
        self._numbers = itertools.count(1)
        self._shapes = Shapes(default)

    def carry_out(self, run: ExecutionRun, commands: Iterable[Command], now: float) -> None:
        for command in commands:
            if type(command) is Dispatch:
                self._dispatch(run, command, now)
            elif type(command) is Record:
                if command.outcome.kind == Kind.STARTED and self.draining:
                    # It is not dispatched either, and one that has started is never started again.
                    self._withheld.add((run.id, command.outcome.node_key))
                    continue
                outcome, number, child, signal = command
                self.entries.append(Entry(run, outcome, number, None, child, signal, run.refusals))
            elif type(command) is Settle:
                self.entries.append(Entry(run, settlement=command.settlement, heard=run.refusals))
            elif type(command) is SetTimer:
                self.timers.set(now + command.seconds, run, command.node)
            elif type(command) is Abandon:
                self.abandon(run, command.nodes)

    def _dispatch(self, run: ExecutionRun, command: Dispatch, now: float) -> None:
        node = run.scopes.node(command.node)
        if self.draining and not (node.at_most_once and (run.id, run.scopes.key(command.node)) not in self._withheld):
            return  # the next driver will
        number = next(self._numbers)
        self.tasks[number] = (run, command.node, command.attempt)
        run.tasks[number] = command.node
        shape = self._shapes.of(node.type, node.asks)
        task = run.task(number, command.node, command.attempt, now)
        self.pool.add(node.spec, task, shape.alone() if command.suspect else shape)

    def let_go(self, run: ExecutionRun) -> None:
        """Nothing of it goes on, and nothing that this turn decided of it is written."""
        run.closed = True
        self.abandon(run, None)
        self.entries = [entry for entry in self.entries if entry.run is not run]

    def abandon(self, run: ExecutionRun, nodes: Sequence[int] | None) -> None:
        numbers = {number for number, node in run.tasks.items() if nodes is None or node in nodes}
        for number in numbers:
            self.tasks.pop(number, None)
            del run.tasks[number]
        if numbers:
            self.pool.cancel(numbers)
