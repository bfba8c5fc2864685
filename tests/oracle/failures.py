"""Failures: who takes one, what a fork bears, and which of several a node is told of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tests.oracle.parts import Fork
from tests.oracle.state import End, Failure, Scope
from tests.oracle.structure import Structure


class Failures:
    """The part of the Interpreter that is about failures."""

    what: Structure
    end: End | None
    clock: int

    def _fail(self, scope: Scope, unit: str, failure: Failure) -> None:
        """Who takes it: its own failed edge, a catch or finally, the branches beside it, else what is around."""
        self.clock += 1
        failure = replace(failure, unit=unit)
        scope.state[unit] = "failed"
        own = [
            e
            for e in self._leaving(scope, unit)
            if e.source == unit and e.label == "failed" and e.origin is scope.region
        ]
        fork = self._bearing(scope, unit)
        handler = self.what.handlers.get((scope.region, unit))
        if own:
            for edge in own:
                self._decide(scope, edge, True, (failure,))
            self._kill(scope, unit)
        elif handler and not (fork and self._outside(fork, unit, handler)):
            scope.handed.setdefault(handler, []).append(failure)
            self._kill(scope, unit)
        elif fork:
            self._borne(scope, unit, fork)
        else:
            self._fails(scope, failure)

    def _bearing(self, scope: Scope, unit: str) -> Fork | None:
        """The innermost fork with any or n_of_m in one of whose branches the node stands."""
        around = [
            (min(len(private) for _, private in fork.branches if unit in private), fork)
            for fork in self.what.forks
            if fork.mode != "sequential"
            and scope.state.get(fork.node) == "done"
            and fork.node in scope.region.units
            and any(unit in private for _, private in fork.branches)
        ]
        return min(around, key=lambda each: each[0])[1] if around else None

    def _outside(self, fork: Fork, unit: str, handler: str) -> bool:
        return not any(unit in private and handler in private for _, private in fork.branches)

    def _borne(self, scope: Scope, unit: str, fork: Fork) -> None:
        self._kill(scope, unit)
        if unit in scope.region.above[fork.meet or ""] and fork not in scope.bearing:
            scope.bearing.append(fork)

    def _bear(self, scope: Scope) -> None:
        """Can enough branches still arrive where one has failed?"""
        for fork in [each for each in scope.bearing if each.meet not in scope.state]:
            entering = self.what.incoming(scope.region, fork.meet or "")
            possible = 0
            for edge, private in fork.branches:
                ways = [e for e in entering if e is edge or e.unit in private]
                possible += bool(scope.edges.get(edge.number) and any(scope.edges.get(e.number, True) for e in ways))
            if possible < fork.needed:
                for _, private in fork.branches:
                    self._drop(scope, private)
                for each in entering:
                    scope.edges.setdefault(each.number, False)
                self._fail(scope, fork.meet or "", Failure("parallel_failed", "", fork.node))
                return self._settle(scope)
        return None

    def _fails(self, scope: Scope, failure: Failure) -> None:
        """Nothing in this scope takes it: it is the loop's, or the execution's."""
        if scope.parent is None:
            self.end = End("failed", None, failure)
            return
        scope.over = True
        loop, run = scope.region.head or "", scope.parent.loops[scope.region.head or ""]
        config = self.what.nodes[loop].get("config", {})
        if scope.region.kind == "foreach" and config.get("on_error") == "collect":
            run.errors[scope.index] = failure
            self._items(scope.parent, loop, run)
        else:
            run.ended = True
            self._fail(scope.parent, loop, failure)
        self._settle(scope.parent)

    def takes_on(self, scope: Scope, unit: str) -> Failure | None:
        """What a catch or finally is to take, or what comes first of all that led to a node: over its failed edge."""
        found = list(scope.handed.get(unit, ()))
        for edge in self.what.incoming(scope.region, unit):
            if edge.label == "failed" and scope.edges.get(edge.number):
                found += [each for each in scope.flows.get(edge.number, ()) if each.unit == edge.unit]
        return self._counts(scope, found)

    def error(self, scope: Scope, unit: str) -> Failure | None:
        """What led to a node: in its turn, else to its loop."""
        found = self.takes_on(scope, unit) or self._counts(scope, scope.led.get(unit, ()))
        if found is None and scope.parent is not None:
            return self.error(scope.parent, scope.region.head or "")
        return found

    def _counts(self, scope: Scope, failures: Iterable[Failure]) -> Failure | None:
        by_unit = {each.unit: each for each in failures}
        last = [e for e in by_unit if not any(e in scope.region.above[other] for other in by_unit)]
        return by_unit[self.what.last_of(scope.region, last)] if last else None
