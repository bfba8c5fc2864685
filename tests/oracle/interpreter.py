"""An interpreter of the workflow language, written from docs/workflows.md alone: what may run now, what each node
reads, how it ends. Slow and plain; nothing here knows the engine. What happens is told to it after it was committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.oracle.failures import Failures
from tests.oracle.loops import Loops
from tests.oracle.parts import Edge, Fork, option
from tests.oracle.reading import Reader
from tests.oracle.state import End, Failure, Scope
from tests.oracle.structure import Structure

INSTANT = {"trigger", "try", "break", "continue"}


class Interpreter(Loops, Failures):
    def __init__(self, what: Structure, value: Any = None, limit: int = 1000) -> None:
        self.input = value
        self.limit = limit
        self.what = what
        self.reader = Reader(self)
        self.clock = 0
        self.end: End | None = None
        self.root = Scope(self.what.root, "", None)
        self._settle(self.root)

    # What is asked of it

    def running(self) -> dict[str, int]:
        """key -> attempt, of all that may be at a runner now."""
        return {key: scope.tried[unit][0] for key, (scope, unit) in self._all("runs").items()}

    def pausing(self) -> set[str]:
        """Keys that wait for a time: to be done, or to be tried again."""
        return {*self._all("waits"), *self._all("tries")}

    def place(self, key: str) -> tuple[Scope, str]:
        for state in ("runs", "waits", "tries"):
            if key in (found := self._all(state)):
                return found[key]
        raise KeyError(key)

    def _all(self, state: str) -> dict[str, tuple[Scope, str]]:
        if self.end:
            return {}
        return {
            scope.key + unit: (scope, unit)
            for scope in self._live(self.root)
            for unit, now in scope.state.items()
            if now == state
        }

    def _live(self, scope: Scope) -> Iterator[Scope]:
        yield scope
        for unit, run in scope.loops.items():
            if not run.ended and scope.state.get(unit) == "loops":
                for turn in run.turns:
                    if not turn.over:
                        yield from self._live(turn)

    def whereabouts(self, key: str) -> tuple[Scope, str]:
        """The scope and the unit of any key that there was."""
        *way, unit = key.split("/")
        scope = self.root
        for each in way:
            loop, _, index = each.rstrip("]").partition("[")
            scope = scope.loops[loop].turns[int(index)]
        return scope, unit

    def merged(self, scope: Scope, unit: str) -> list[Any]:
        """Of each direct predecessor that ran, in the order of the edges: its id and its output."""
        found = {}
        for edge in self.what.incoming(scope.region, unit):
            source = edge.source
            where = edge.unit
            if (
                where is not None
                and where not in scope.cut
                and scope.state.get(where) == "done"
                and self.reader.ran(scope, where, source)
            ):
                found[source] = self.reader.output_of(scope, where, source)
        if self.any_order(scope, unit):
            arrived = {e.source for e in self.what.incoming(scope.region, unit) if scope.edges.get(e.number)}
            found = {source: value for source, value in found.items() if source in arrived}
        return [[source, value] for source, value in found.items()]

    def any_order(self, scope: Scope, unit: str) -> bool:
        """Whether what it puts together comes in the order of arrival."""
        meets = [each for each in self.what.forks if each.mode != "sequential" and each.meet == unit]
        return any(scope.state.get(each.node) == "done" and each.node in scope.region.units for each in meets)

    # What is told to it

    def completed(self, key: str, output: Any, branch: str | None) -> None:
        scope, unit = self.place(key)
        self._complete(scope, unit, output, branch)
        self._settle(scope)

    def waits(self, key: str, output: Any, branch: str | None) -> None:
        """It is done, with this output, after a time."""
        scope, unit = self.place(key)
        scope.state[unit] = "waits"
        scope.output[unit] = (output, branch)

    def due(self, key: str) -> None:
        scope, unit = self.place(key)
        if scope.state[unit] == "waits":
            output, branch = scope.output.pop(unit)
            self._complete(scope, unit, output, branch)
            self._settle(scope)
        else:
            attempt, failures, crashes = scope.tried[unit]
            scope.tried[unit] = (attempt + 1, failures, crashes)
            scope.state[unit] = "runs"

    def failed(self, key: str, kind: str, message: str, again: bool, node: str | None = None) -> None:
        scope, unit = self.place(key)
        attempt, failures, crashes = scope.tried[unit]
        retries = self.what.nodes[unit].get("max_retries", 3)
        once = option(self.what.nodes[unit], "at_most_once")
        if again and failures < retries and not once:
            scope.tried[unit] = (attempt, failures + 1, crashes)
            scope.state[unit] = "tries"
            return
        self._fail(scope, unit, Failure(kind, message, node or unit))
        self._settle(scope)

    def lost(self, key: str) -> None:
        """Its runner died."""
        scope, unit = self.place(key)
        attempt, failures, crashes = scope.tried[unit]
        if option(self.what.nodes[unit], "at_most_once"):
            self._fail(scope, unit, Failure("runner_lost", "", unit))
        elif crashes == 3:
            self._fail(scope, unit, Failure("poison", "", unit))
        else:
            scope.tried[unit] = (attempt + 1, failures, crashes + 1)
            return
        self._settle(scope)

    # One scope

    def _settle(self, scope: Scope) -> None:
        """Start or skip all that is decided, until nothing changes; then look whether the scope is over."""
        while not self.end and not scope.over and sum(self._look(scope, unit) for unit in scope.region.units):
            pass
        if not self.end and not scope.over:
            self._bear(scope)
        if self.end or scope.over:
            return
        if all(scope.state.get(unit) in ("done", "failed", "skipped", "dropped") for unit in scope.region.units):
            scope.over = True
            if scope.parent is None:
                self.end = End("completed", self._result())
            else:
                self._turned(scope)

    def _look(self, scope: Scope, unit: str) -> bool:
        if unit in scope.state or self.end or scope.over or unit in self.what.dead:
            return False
        if any(
            scope.state.get(e) not in ("done", "failed", "skipped", "dropped")
            for e in self.what.later.get((scope.region, unit), ())
        ):
            return False
        if unit in self.what.always and scope.region is self.what.home[unit]:
            runs: bool | None = None
            start, before = self.what.always[unit]
            if all(scope.state.get(e) in ("done", "failed", "skipped", "dropped") for e in {start, *before}):
                runs = scope.state[start] == "done"
            entering = self.what.incoming(scope.region, unit)
            if any(each.number not in scope.edges for each in entering):
                runs = None
            elif any(scope.edges[each.number] for each in entering):
                runs = runs if runs is None else True
        else:
            runs = self._entered(scope, unit)
        if runs is None:
            return False
        if runs:
            self._start(scope, unit)
        else:
            self._skip(scope, unit)
        return True

    def _entered(self, scope: Scope, unit: str) -> bool | None:
        """Whether it runs; None: not decided yet."""
        if scope.region.kind == "cycle" and unit == scope.region.head:
            return True
        entering = self.what.incoming(scope.region, unit)
        for fork in self.what.forks:
            here = fork.meet == unit and scope.region is self.what.home.get(fork.node)
            if here and fork.mode != "sequential" and scope.state.get(fork.node) == "done":
                return self._met(scope, fork, entering)
        if any(each.number not in scope.edges for each in entering):
            return None
        if scope.region.kind == "root" and unit in self.what.entries:
            return True
        return any(scope.edges[each.number] for each in entering)

    def _met(self, scope: Scope, fork: Fork, entering: list[Edge]) -> bool | None:
        arrived, open_ones, others = 0, 0, []
        for edge, private in fork.branches:
            if not scope.edges.get(edge.number):
                continue
            mine = [each for each in entering if each is edge or each.unit in private]
            if all(each.number in scope.edges for each in mine):
                came = any(scope.edges[each.number] for each in mine)
            else:
                came, open_ones = False, open_ones + 1
            arrived += came
            if not came:
                others.append((edge, private))
        rest = [e for e in entering if not any(e is edge or e.unit in private for edge, private in fork.branches)]
        if arrived >= fork.needed:
            for _, private in others:
                scope.cut |= private
                self._drop(scope, private)
            open_ones = 0
        elif fork in scope.bearing:
            return None  # _bear() says
        if open_ones or any(each.number not in scope.edges for each in rest):
            return None
        return arrived > 0 or any(scope.edges[each.number] for each in rest)

    def _drop(self, scope: Scope, units: set[str]) -> None:
        for unit in units:
            if scope.state.get(unit) not in ("done", "failed", "skipped"):
                scope.state[unit] = "dropped"
                if unit in scope.loops:
                    scope.loops[unit].ended = True
                self._kill(scope, unit)

    def _start(self, scope: Scope, unit: str) -> None:
        entering = [each for each in self.what.incoming(scope.region, unit) if scope.edges.get(each.number)]
        led = {failure: None for each in entering for failure in scope.flows.get(each.number, ())}
        passed = self.what.passes.get(unit) if self.what.home.get(unit) is scope.region else None
        behind = scope.led.get(passed, ()) if passed and passed not in scope.caught else ()
        scope.led[unit] = (*led, *scope.handed.get(unit, ()), *(each for each in behind if each not in led))
        scope.tried[unit] = (1, 0, 0)
        kind = self.what.nodes[unit]["type"]
        if unit in scope.region.inner:
            scope.state[unit] = "loops"
            self._begin(scope, unit)
        elif kind == "break":
            scope.state[unit] = "done"
            self._jump(scope, self.what.jumps[unit], "break")
        elif kind == "continue":
            scope.state[unit] = "done"
            self._jump(scope, self.what.jumps[unit], "continue")
        elif kind in INSTANT:
            self._complete(scope, unit, self.input if kind == "trigger" else None, None)
        else:
            scope.state[unit] = "runs"

    def _skip(self, scope: Scope, unit: str) -> None:
        scope.state[unit] = "skipped"
        self._kill(scope, unit)

    def _kill(self, scope: Scope, unit: str, but: tuple[int, ...] = ()) -> None:
        for edge in self._leaving(scope, unit):
            if edge.number not in but:
                self._decide(scope, edge, False)

    def _leaving(self, scope: Scope, unit: str) -> list[Edge]:
        """All edges that a unit decides about; of a loop those that leave it too."""
        own = [each for each in self.what.edges if each.source == unit and each.origin is scope.region]
        inside = scope.region.inner.get(unit)
        if inside is not None:
            own = [each for each in own if each.origin is scope.region and self.what.is_loop(unit)]
            own += [e for e in self.what.edges if inside.holds(e.origin) and e.home.holds(scope.region)]
        return own

    def _decide(self, scope: Scope, edge: Edge, taken: bool, flow: tuple[Failure, ...] = ()) -> None:
        known = scope.edges if edge.home is scope.region else scope.left
        if edge.number not in known:
            known[edge.number] = taken
            scope.flows[edge.number] = flow if taken else ()

    # One node

    def _complete(self, scope: Scope, unit: str, output: Any, branch: str | None) -> None:
        self.clock += 1
        scope.state[unit] = "done"
        scope.output[unit] = output
        kind = self.what.nodes[unit]["type"]
        if kind == "set_variable":
            scope.set_at[unit] = self.clock
        if kind == "catch" and branch == "caught":
            scope.caught.add(unit)
        flow = scope.led.get(unit, ())
        for edge in self._leaving(scope, unit):
            self._decide(scope, edge, self._takes(unit, edge, branch), flow)

    def _takes(self, unit: str, edge: Edge, branch: str | None) -> bool:
        if edge.label == "failed":
            return False
        if edge.label == "success":
            return True
        if edge.label is None:
            return branch != "passed" or self.what.behind.get(unit) in (None, edge.target)
        if self.what.nodes[unit]["type"] == "switch":
            cases = self.what.nodes[unit]["config"].get("cases", {})
            return edge.label == branch or (branch in cases and cases[branch] == edge.label)
        return edge.label == branch

    # The end

    def _result(self) -> Any:
        leaving = {
            e.source
            for e in self.what.edges
            if not (
                (self.what.is_loop(e.source) and e.home is not e.origin)
                or (self.what.is_loop(e.source) and e.origin.head == e.source)
            )
        }
        ends = [each for each in self.what.root.units if each not in leaving and each not in self.what.jumps]
        found = {unit: self.root.output.get(unit) for unit in ends if self.root.state.get(unit) == "done"}
        if len(ends) == 1:
            return found.get(ends[0])
        return found
