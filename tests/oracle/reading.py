"""What a node reads: nodes, variables, errors, the turn of a loop. Of the expression language only what the generator
writes: paths, literals, and a comparison of a path with a literal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tests.oracle.parts import Unclear
from tests.oracle.state import ANYTHING, Run, Scope

if TYPE_CHECKING:
    from tests.oracle.interpreter import Interpreter


class OneOf:
    """The page leaves open which of these it is."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = list(values)

    def __repr__(self) -> str:
        return "one of " + " | ".join(map(repr, self.values))


def same(expected: Any, found: Any) -> bool:
    if expected is ANYTHING:
        return True
    if isinstance(expected, OneOf):
        return any(same(each, found) for each in expected.values)
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(value, found[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    return bool(expected == found) and isinstance(expected, bool) == isinstance(found, bool)


class Reader:
    def __init__(self, of: Interpreter) -> None:
        self.of = of

    def one_of(self, values: Sequence[Any]) -> Any:
        first, *rest = values
        return first if all(each == first for each in rest) else OneOf(values)

    def render(self, scope: Scope, unit: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.render(scope, unit, each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.render(scope, unit, each) for each in value]
        if isinstance(value, str) and (found := re.fullmatch(r"\{\{ (.*) \}\}", value)):
            return self.evaluate(scope, unit, found[1])
        return value

    def evaluate(self, scope: Scope, unit: str, text: Any, bare: bool = False) -> Any:
        if not isinstance(text, str):
            return text
        text = text.strip().removeprefix("{{").removesuffix("}}").strip()
        compared = re.fullmatch(r"(.+?) (==|!=|<) (.+)", text)
        if compared:
            left, right = (self.evaluate(scope, unit, compared[side]) for side in (1, 3))
            if isinstance(left, OneOf):
                return self.one_of([self._compare(each, compared[2], right) for each in left.values])
            return self._compare(left, compared[2], right)
        try:
            return json.loads(text)
        except ValueError:
            return self.path(scope, unit, text)

    def _compare(self, left: Any, sign: str, right: Any) -> bool:
        return bool(left == right if sign == "==" else left != right if sign == "!=" else left < right)

    def path(self, scope: Scope, unit: str, text: str) -> Any:
        name, *keys = re.findall(r"[^.\[\]]+", text)
        if name == "nodes":
            node, part, *keys = keys
            value = self.node(scope, unit, node)
            if part == "result" and isinstance(value, dict) and "result" in value:
                value = value["result"]
        elif name == "vars":
            value, keys = self.variable(scope, unit, keys[0]), keys[1:]
        elif name == "error":
            failure = self.of.error(scope, unit)
            value = failure.told if failure else None
        elif name == "input":
            value = self.of.input
        else:
            value = self.of_turn(scope, unit, name)
        for key in keys:
            value = self.key(value, key)
        return value

    def key(self, value: Any, key: str) -> Any:
        if value is ANYTHING:
            return value
        if isinstance(value, OneOf):
            return self.one_of([self.key(each, key) for each in value.values])
        if isinstance(value, dict):
            return value.get(key)
        return value[int(key)] if isinstance(value, list) and key.isdigit() and int(key) < len(value) else None

    # The turn of a loop

    def of_turn(self, scope: Scope, unit: str, name: str) -> Any:
        """item, index or a loop_variable, of the innermost loop that has the name."""
        inside: Scope | None = scope
        while inside is not None and inside.parent is not None:
            config = self.of.what.nodes[inside.region.head or ""].get("config", {})
            kind = inside.region.kind
            if name == "index" and kind != "cycle":
                return inside.index
            if kind in ("for", "foreach") and name in ("item", config.get("loop_variable", "item")):
                return inside.item
            if kind == "repeat" and name == config.get("loop_variable"):
                return inside.index
            inside = inside.parent
        raise Unclear(f"{name} is read where no loop has it")

    # nodes.<id>.output

    def node(self, scope: Scope, unit: str, node: str) -> Any:
        inside: Scope | None = scope
        while inside is not None:
            if inside.region.head == node and inside.region.kind != "cycle":
                turn = {"index": inside.index}
                return turn | ({"item": inside.item} if inside.region.kind in ("for", "foreach") else {})
            if node in inside.region.units and (node not in inside.region.inner or self.of.what.is_loop(node)):
                return inside.output.get(node) if inside.state.get(node) == "done" else None
            for head, region in inside.region.inner.items():
                if region.holds(self.of.what.stands(node)):
                    return self.output_of(inside, head, node)
            inside = inside.parent
        raise Unclear(f"{node} is read and is not before")

    def output_of(self, scope: Scope, unit: str, node: str) -> Any:
        """Of a node in a scope, or in a loop of it that has ended (or stands before its next turn)."""
        if unit not in scope.region.inner or (unit == node and self.of.what.is_loop(node)):
            return scope.output.get(unit) if scope.state.get(unit) == "done" else None
        run, region = scope.loops.get(unit), scope.region.inner[unit]
        if run is None or scope.state.get(unit) not in ("done", "loops", "failed"):
            return None
        if scope.state[unit] == "failed":
            ended = [each for each in run.turns if each.ended]
            return self._in_turn(ended[-1], node) if ended and region.kind != "foreach" else None
        if region.kind == "foreach":
            return [
                ANYTHING
                if turn.index in run.errors
                # the page does not say
                else self._in_turn(turn, node)
                for turn in run.turns
            ]
        return self._in_turn(run.turns[-1], node) if run.turns else None

    def ran(self, scope: Scope, unit: str, node: str) -> bool:
        """Whether a node completed, in the last turn of a loop that stands in this scope."""
        if unit not in scope.region.inner or (unit == node and self.of.what.is_loop(node)):
            return scope.state.get(unit) == "done"
        run = scope.loops.get(unit)
        if run is None or not run.turns:
            return False
        turn = run.turns[-1]
        inside = (
            node
            if node in turn.region.units
            else next(head for head, region in turn.region.inner.items() if region.holds(self.of.what.stands(node)))
        )
        return self.ran(turn, inside, node)

    def _in_turn(self, turn: Scope, node: str) -> Any:
        if node in turn.region.units and (node not in turn.region.inner or self.of.what.is_loop(node)):
            return turn.output.get(node) if turn.state.get(node) == "done" else None
        for head, region in turn.region.inner.items():
            if region.holds(self.of.what.stands(node)):
                return self.output_of(turn, head, node)
        return None

    # vars.<name>

    def variable(self, scope: Scope, unit: str, name: str) -> Any:
        found = self._before(scope, unit, name)
        return self.one_of(found) if found else None

    def is_set(self, scope: Scope, unit: str, name: str) -> bool:
        return bool(self._before(scope, unit, name))

    def _before(self, scope: Scope, unit: str, name: str) -> list[Any]:
        """The values of the last set_variable before a reader; several where they ran side by side."""
        if found := self._latest(scope, scope.region.above.get(unit, set()), name):
            return found
        if scope.parent is None:
            return []
        if scope.region.kind != "foreach":
            for turn in reversed(scope.parent.loops[scope.region.head or ""].turns[: scope.index]):
                if found := self._latest(turn, set(turn.region.units), name):
                    return found
        return self._before(scope.parent, scope.region.head or "", name)

    def _latest(self, scope: Scope, units: set[str], name: str) -> list[Any]:
        setting = {each: values for each in units if (values := self._sets(scope, each, name))}
        last = [e for e in setting if not any(e in scope.region.above[o] for o in setting if o != e)]
        return setting[self.of.what.last_of(scope.region, last)] if last else []

    def _sets(self, scope: Scope, unit: str, name: str) -> list[Any]:
        if unit in scope.region.inner:
            run: Run | None = scope.loops.get(unit)
            if run is None or scope.region.inner[unit].kind == "foreach":
                return []
            failed = scope.state.get(unit) == "failed"
            for turn in reversed([each for each in run.turns if each.ended or not failed]):
                if found := self._latest(turn, set(turn.region.units), name):
                    return found
            return []
        if unit in scope.set_at and self.of.what.nodes[unit]["config"]["variable_name"] == name:
            return [scope.output[unit]["value"]]
        return []
