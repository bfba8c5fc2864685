"""Loops, cycles and foreach: their turns, and how they end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.oracle.parts import BACK, option
from tests.oracle.reading import Reader
from tests.oracle.state import ANYTHING, Failure, Run, Scope
from tests.oracle.structure import Structure


class Loops:
    """The part of the Interpreter that is about loops."""

    what: Structure
    reader: Reader
    limit: int

    def _begin(self, scope: Scope, loop: str) -> None:
        run = scope.loops[loop] = Run()
        config = self.what.nodes[loop].get("config", {})
        kind = scope.region.inner[loop].kind
        if kind in ("for", "foreach"):
            found = self.reader.evaluate(scope, loop, config.get("array_expression", config.get("items")))
            if not isinstance(found, list):
                return self._ended_badly(scope, loop, run, Failure("ConfigError", "", loop))
            run.items = found
        elif kind == "repeat":
            found = self.reader.evaluate(scope, loop, config["repeat_count"])
            if not isinstance(found, int) or isinstance(found, bool) or found < 0:
                return self._ended_badly(scope, loop, run, Failure("ConfigError", "", loop))
            run.count = found
        if kind == "foreach":
            return self._items(scope, loop, run)
        limit = option(self.what.nodes[loop], "max_iterations") or self.limit
        if (kind == "repeat" and (run.count or 0) > limit) or (kind == "for" and len(run.items or ()) > limit):
            return self._ended_badly(scope, loop, run, Failure("iteration_limit", "", loop))
        return self._turn(scope, loop, run)

    def _turn(self, scope: Scope, loop: str, run: Run) -> None:
        """Before a turn: is there one?"""
        kind, turns = scope.region.inner[loop].kind, len(run.turns)
        config = self.what.nodes[loop].get("config", {})
        limit = option(self.what.nodes[loop], "max_iterations") or self.limit
        if kind == "for":
            more = turns < len(run.items or ())
        elif kind == "repeat":
            more = turns < (run.count or 0)
        elif kind == "while":
            more = bool(self.reader.evaluate(scope, loop, config["condition_expression"], bare=True))
        else:
            more = True
        if not more:
            return self._ended(scope, loop, run, "done")
        if turns >= limit:
            return self._ended_badly(scope, loop, run, Failure("iteration_limit", "", loop))
        return self._enter(scope, loop, run, turns)

    def _enter(self, scope: Scope, loop: str, run: Run, index: int) -> None:
        region = scope.region.inner[loop]
        turn = Scope(region, f"{scope.key}{loop}[{index}]/", scope, index)
        turn.item = run.items[index] if run.items is not None else None
        run.turns.append(turn)
        for edge in self.what.edges:
            if edge.home is region and edge.unit is None and edge.origin is region:
                turn.edges[edge.number] = True
        self._settle(turn)

    def _turned(self, turn: Scope) -> None:
        """Nothing of a turn is left to run."""
        turn.ended = True
        scope, loop = turn.parent, turn.region.head or ""
        assert scope is not None
        run = scope.loops[loop]
        if turn.region.kind == "foreach":
            self._items(scope, loop, run)
        else:
            back = any(e.home is turn.region and e.into == BACK and turn.edges.get(e.number) for e in self.what.edges)
            out = any(turn.left.values())
            if turn.region.kind == "cycle":
                if back:
                    self._turn(scope, loop, run)
                else:
                    self._ended(scope, loop, run, "exit")
            elif out and not back:
                self._ended(scope, loop, run, "exit")
            else:
                self._turn(scope, loop, run)
        self._settle(scope)

    def _jump(self, scope: Scope, loop: str, how: str) -> None:
        inside: Scope | None = scope
        while inside is not None:
            inside.over = inside.jumped = inside.ended = True
            if inside.region.head == loop:
                break
            inside = inside.parent
            if inside is not None:
                for run in inside.loops.values():
                    run.ended = True
        assert inside is not None and inside.parent is not None
        outer, run = inside.parent, inside.parent.loops[loop]
        if how == "break":
            self._ended(outer, loop, run, "break")
        elif inside.region.kind == "foreach":
            self._items(outer, loop, run)
        else:
            self._turn(outer, loop, run)
        self._settle(outer)

    def _items(self, scope: Scope, loop: str, run: Run) -> None:
        """Begin items as far as they may run side by side; end when all are over."""
        items = run.items or []
        many = int(self.what.nodes[loop].get("config", {}).get("max_parallel", 20))
        while not run.ended and len(run.turns) < len(items) and sum(not t.over for t in run.turns) < many:
            self._enter(scope, loop, run, len(run.turns))
        if run.ended or len(run.turns) < len(items) or any(not t.over for t in run.turns):
            return
        run.ended = True
        errors = [{"index": index, "error": run.errors[index].told} for index in sorted(run.errors)]
        output = {"count": len(items), "results": [self._led_back(t, run) for t in run.turns], "errors": errors}
        self._finish(scope, loop, output, True)

    def _led_back(self, turn: Scope, run: Run) -> Any:
        back = [e for e in self.what.edges if e.home is turn.region and e.into == BACK and turn.edges.get(e.number)]
        if len({(e.unit, e.source) for e in back}) > len({e.unit for e in back}):
            return ANYTHING  # two nodes of one loop: the page does not say
        units = {e.unit: e.source for e in back if e.unit is not None}
        units = {unit: units[unit] for unit in units if not any(unit in turn.region.above[other] for other in units)}
        if turn.index in run.errors or turn.jumped or not units:
            return None
        unit = self.what.last_of(turn.region, list(units))
        return self.reader.output_of(turn, unit, units[unit])

    def _ended(self, scope: Scope, loop: str, run: Run, how: str) -> None:
        run.ended = True
        if run.turns:
            last = run.turns[-1]
            last.over = True
            for number, taken in last.left.items():
                edge = self.what.edges[number]
                flow = [replace(each, unit=loop) for each in last.flows.get(number, ())]
                self._decide(scope, edge, taken, tuple(flow) or scope.led.get(loop, ()))
        self._finish(scope, loop, {"iterations": len(run.turns), "ended_by": how}, how != "exit")

    def _finish(self, scope: Scope, loop: str, output: Any, done: bool) -> None:
        self.clock += 1
        scope.state[loop] = "done"
        scope.output[loop] = output
        for edge in self._leaving(scope, loop):
            own = edge.source == loop and self.what.is_loop(loop) and edge.origin is scope.region
            self._decide(scope, edge, own and done and edge.label != "failed", scope.led.get(loop, ()))

    def _ended_badly(self, scope: Scope, loop: str, run: Run, failure: Failure) -> None:
        run.ended = True
        self._fail(scope, loop, failure)
