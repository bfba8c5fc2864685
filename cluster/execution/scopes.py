"""The scopes of one execution: which turn of which loop stands where. Pure; each scope's nodes are a Plan's.

A run of a region is a scope: the root, the fourth turn of loop `poll` is `poll[3]`, item 17 of a foreach inside it
`poll[3]/each[17]`. A node in a scope is named by a number, its slot; in the root that is its index. A loop node is run
like any other to decide: once for all items (key `each[]`), or before each turn (`poll[3]`). What follows from
outcomes is derived and never stored, but for one thing: the end of a loop, under the key of its node, because its
output is read.

A turn is over when nothing of it is left to run. If a way back was taken, the next one begins; if none was and one out
of the region was, the loop ends there; if the path just ended, a loop goes on with the next item and a cycle ends.

Beginning again from what is stored is the same as running: whatever becomes live looks for its stored outcomes, which
are then taken in as if they had just come.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any

from dray.actors.messages import FailureType
from dray.cluster.execution.commands import error_text, without_trace
from dray.cluster.execution.plan import READY, Exits
from dray.cluster.execution.scope import Loop, Scope, outwards
from dray.cluster.execution.turns import leave_behind, stuck
from dray.cluster.graph.types import BACK, Graph, Node
from dray.store.records import Kind, Outcome, StoredOutcome

GATHERED = 16  # a foreach's output may be so many times as large as one node's


class Scopes:
    """live: slots whose node is to be run, runs, or waits. fresh: those that became live, dropped: those that need not
    go on, ends: loops that ended, each since it was last emptied. failure: the error that nothing caught.

    limit: turns of a loop whose node says nothing. max_bytes: of one node's output.
    """

    __slots__ = (
        "_execution", "_last", "_max_bytes", "_over", "_scopes", "_width", "dropped", "ends", "failure", "fresh",
        "limit", "live", "replay", "root", "stored",
    )  # fmt: skip

    def __init__(self, execution: str, graph: Graph, limit: int, max_bytes: int) -> None:
        self._execution = execution
        self.limit = limit
        self._max_bytes = GATHERED * max_bytes
        self._width = graph.width
        self.root = Scope(graph.root, 0, "")
        self._scopes = {0: self.root}
        self._last = 0
        self._over: deque[Scope] = deque()  # scopes in which nothing is left to run
        self.live: set[int] = set()
        self.fresh: list[int] = []
        self.dropped: list[int] = []
        self.ends: list[Outcome] = []
        self.failure: str | None = None
        self.stored: dict[str, list[StoredOutcome]] = {}  # key -> outcomes that have not been taken in yet
        self.replay: deque[tuple[int, list[StoredOutcome]]] = deque()

    def start(self) -> None:
        self._after(self.root, self.root.plan.start())

    def begun(self) -> list[Outcome]:
        """All that was stored has been taken in; gives the ends of loops that were not stored yet."""
        self.stored = {}
        self.fresh = []
        ends, self.ends = self.ends, []
        return ends

    # Asking

    def at(self, slot: int) -> tuple[Scope, Node]:
        if slot < self._width:  # nearly always
            return self.root, self.root.region.nodes[slot]
        scope = self._scopes[slot // self._width]
        return scope, scope.region.nodes[slot % self._width]

    def node(self, slot: int) -> Node:
        return self.at(slot)[1]

    def key(self, slot: int) -> str:
        scope, node = self.at(slot)
        return scope.prefix + node.id if node.inner is None else scope.prefix + node.id + self._turn_of(scope, node)

    def _turn_of(self, scope: Scope, node: Node) -> str:
        """In the key of a loop node that decides: for all items at once, or for the turn that may come next."""
        loop = scope.loops.get(node.index)
        return f"[{loop.turn if loop else 0}]" if node.inner and node.inner.kind == "while" else "[]"

    def undecided(self) -> str | None:
        """Of an execution in which nothing is left to run: the error, if some node was neither run nor skipped."""
        return stuck(self.root)

    # What happened

    def completed(self, slot: int, output: str | None, branch: str | None = None) -> None:
        scope, node = self.at(slot)
        self.live.discard(slot)
        if node.inner is not None:
            self._decided(scope, node, output or "null", branch)
        elif node.type in ("break", "continue"):
            self._leave(scope, node)
        else:
            if scope.left[node.index]:
                scope.outputs[node.index] = output or "null"
            ready = scope.plan.completed(node.index, branch)
            if node.reads:
                self._forget(scope, node)
            self._after(scope, ready)
        if self._over:
            self._run()

    def failed(self, slot: int, error: str) -> None:
        scope, node = self.at(slot)
        self.live.discard(slot)
        self._fail(scope, node, without_trace(error))
        self._run()

    # Scopes

    def _after(self, scope: Scope, ready: Sequence[int]) -> None:
        """What follows from a change of a scope's plan. ready: nodes that became so."""
        plan = scope.plan
        short, plan.short = plan.short, None
        if short is not None:
            ready = [*ready, *plan.give_up(*short)]
        if plan.dropped:
            for index in plan.dropped:
                self._drop(scope, index)
            plan.dropped = []
        if short is not None:
            fork, join = short
            message = f"fewer than {fork.wait} of its branches can complete: see the failures of their nodes"
            is_caught = plan.catches(join)
            self._fail(scope, scope.region.nodes[join], error_text(FailureType.PARALLEL_FAILED, message, fork.id))
            if not is_caught:
                return
            ready = [index for index in ready if plan.state[index] == READY]
        for index in ready:
            node = scope.region.nodes[index]
            if node.inner is not None and node.inner.kind == "cycle":
                loop = scope.loops[index] = Loop(scope, node)
                self._open(loop, 0)
            else:
                self._enliven(scope, index)
        if not plan.active and scope.loop is not None:
            self._over.append(scope)

    def _enliven(self, scope: Scope, index: int) -> None:
        slot = scope.number * self._width + index
        self.live.add(slot)
        self.fresh.append(slot)
        if self.stored and (outcomes := self.stored.pop(self.key(slot), None)):
            if scope.region.nodes[index].type in ("break", "continue"):  # they end what else there is to take in
                self.replay.append((slot, outcomes))
            else:
                self.replay.appendleft((slot, outcomes))

    def _run(self) -> None:
        while self._over:
            scope = self._over.popleft()
            if self._scopes.get(scope.number) is scope and not scope.plan.active:
                self._turn_over(scope)

    def _open(self, loop: Loop, turn: int) -> None:
        self._last += 1
        header: dict[str, Any] = {"index": turn}
        if loop.items is not None:
            header["item"] = loop.items[turn]
            loop.items[turn] = None
        prefix = f"{loop.scope.prefix}{loop.node.id}[{turn}]/"
        text = json.dumps(header, ensure_ascii=False)
        scope = Scope(loop.region, self._last, prefix, loop, turn, text)
        self._scopes[scope.number] = loop.open[turn] = scope
        self._after(scope, scope.plan.start())

    def _close(self, scope: Scope) -> None:
        """Whatever runs in it need not go on."""
        for index in scope.plan.ready():
            self._drop(scope, index)
        self._scopes.pop(scope.number, None)

    def _drop(self, scope: Scope, index: int) -> None:
        loop = scope.loops.pop(index, None)
        if loop is not None:
            self._close_all(loop)
        slot = scope.number * self._width + index
        if slot in self.live:
            self.live.discard(slot)
            self.dropped.append(slot)

    def _close_all(self, loop: Loop) -> None:
        for scope in loop.open.values():
            self._close(scope)
        loop.open = {}

    # Loops

    def _decided(self, scope: Scope, node: Node, output: str, branch: str | None) -> None:
        loop = scope.loops.setdefault(node.index, Loop(scope, node))
        limit = node.max_iterations or self.limit
        if loop.region.kind == "while":
            if branch != "body":
                self._end(loop, "done", loop.exits)
            elif loop.turn >= limit:
                self._exceeded(loop, limit)
            else:
                self._open(loop, loop.turn)
            return
        given = json.loads(output)
        loop.items = given.get("items")
        loop.count = len(loop.items) if loop.items is not None else int(given.get("count") or 0)
        if loop.region.kind == "each":
            loop.results = ["null"] * loop.count
            loop.lists = {export.outer: ["null"] * loop.count for export in loop.region.exports}
            self._go_on(loop)
        elif loop.count > limit:
            self._exceeded(loop, limit)
        elif loop.count:
            self._open(loop, 0)
        else:
            self._end(loop, "done", {})

    def _turn_over(self, scope: Scope) -> None:
        loop, left = scope.loop, scope.plan.left
        assert loop is not None
        if (bug := stuck(scope)) is not None:
            self.failure = bug
            return
        self._finish_turn(scope, loop)
        exits = scope.plan.exits
        if loop.region.kind == "each":
            self._go_on(loop)
        elif BACK not in left and (exits or loop.region.kind == "cycle"):
            self._end(loop, "exit", exits)
        else:
            loop.exits = exits
            self._next_turn(loop)

    def _finish_turn(self, scope: Scope, loop: Loop, goes_on: bool = False) -> None:
        """Close a turn. goes_on: by a continue, so that an item of a foreach has no result."""
        self._close(scope)
        del loop.open[scope.turn]
        leave_behind(scope, loop, goes_on)

    def _next_turn(self, loop: Loop) -> None:
        loop.turn += 1
        kind = loop.region.kind
        limit = loop.node.max_iterations or self.limit
        if kind == "while":
            self._enliven(loop.scope, loop.node.index)
        elif kind == "cycle" and loop.turn >= limit:
            self._exceeded(loop, limit)
        elif kind == "cycle" or loop.turn < loop.count:
            self._open(loop, loop.turn)
        else:
            self._end(loop, "done", loop.exits)

    def _go_on(self, loop: Loop) -> None:
        """Of a foreach: as many items as may run at once."""
        if loop.size > self._max_bytes:
            message = f"its items gave more than {self._max_bytes} bytes: let them return less, or where it is stored"
            self._fail_loop(loop, error_text(FailureType.CONFIG, message, loop.node.id))
            return
        while len(loop.open) < loop.node.max_parallel and loop.turn < loop.count:
            loop.turn += 1
            self._open(loop, loop.turn - 1)
        if not loop.open:
            self._end(loop, "done", {})

    def _leave(self, scope: Scope, node: Node) -> None:
        target = outwards(scope, node.ends)
        loop = target.loop
        assert loop is not None
        while scope is not target:  # ways out of loops further inside that lead out of this one too
            assert scope.loop is not None
            scope.loop.scope.plan.leave(scope.loop.node.index, scope.plan.exits)
            scope = scope.loop.scope
        exits = target.plan.exits
        self._finish_turn(target, loop, goes_on=node.type == "continue")
        if node.type == "break":
            self._end(loop, "break", exits)
        elif loop.region.kind == "each":
            self._go_on(loop)
        else:
            loop.exits = exits
            self._next_turn(loop)

    def _end(self, loop: Loop, how: str, exits: Exits) -> None:
        scope, node = loop.scope, loop.node
        scope.loops.pop(node.index, None)
        self._close_all(loop)
        if loop.region.kind != "cycle":
            output = self._output(loop, how)
            self._record(scope.prefix + node.id, Kind.COMPLETED, how, output)
            self._keep(scope, node.index, output)
        for outer, texts in loop.lists.items():
            scope.outputs[outer] = f"[{','.join(texts)}]"
        ready = scope.plan.ended(node.index, exits, how != "exit")
        self._forget(scope, node)
        self._after(scope, ready)

    @staticmethod
    def _output(loop: Loop, how: str) -> str:
        if loop.region.kind != "each":
            iterations = loop.turn + (how in ("break", "exit"))
            return f'{{"iterations":{iterations},"ended_by":"{how}"}}'
        errors = ",".join(f'{{"index":{index},"error":{error}}}' for index, error in sorted(loop.failures))
        return f'{{"count":{loop.count},"results":[{",".join(loop.results)}],"errors":[{errors}]}}'

    # Failures

    def _exceeded(self, loop: Loop, limit: int) -> None:
        message = f"it went round more than {limit} times: raise max_iterations, or see why it does not end"
        self._fail_loop(loop, error_text(FailureType.ITERATION_LIMIT, message, loop.node.id))

    def _fail_loop(self, loop: Loop, error: str) -> None:
        self._close_all(loop)
        loop.scope.loops.pop(loop.node.index, None)
        self._record(loop.scope.prefix + loop.node.id, Kind.FAILED, None, error)
        self._fail(loop.scope, loop.node, error)

    def _fail(self, scope: Scope, node: Node, error: str) -> None:
        """A failure for good: an error edge or a fork takes it, else it is the failure of all that is around it."""
        scope.loops.pop(node.index, None)  # a decision of a while that failed
        if scope.plan.catches(node.index):
            ready = scope.plan.failed(node.index, error)
            self._forget(scope, node)
            self._after(scope, ready)
        else:
            scope.plan.failed(node.index)
            self._scope_fails(scope, error)

    def _scope_fails(self, scope: Scope, error: str) -> None:
        loop = scope.loop
        if loop is None:
            self.failure = error
            return
        if loop.node.collect and scope.region.kind == "each":
            loop.failures.append((scope.turn, error))
            self._close(scope)
            del loop.open[scope.turn]
            self._go_on(loop)
            return
        self._close_all(loop)
        loop.scope.loops.pop(loop.node.index, None)
        self._fail(loop.scope, loop.node, error)

    # Keeping

    def _record(self, key: str, kind: Kind, branch: str | None, outcome: str) -> None:
        if self.stored.pop(key, None) is None:
            self.ends.append(Outcome(self._execution, key, 1, kind, branch, outcome, None, None, None))

    def _keep(self, scope: Scope, index: int, output: str | None) -> None:
        if scope.left[index]:
            scope.outputs[index] = output or "null"

    def _forget(self, scope: Scope, node: Node) -> None:
        """The node is done: what it was given is kept only as long as others want it."""
        for each in node.reads:
            scope.left[each] -= 1
            if not scope.left[each]:
                scope.outputs.pop(each, None)
