"""What a turn of a loop leaves behind for what reads it later: outputs, variables, the result of an item. Pure."""

from __future__ import annotations

import json
from typing import Any

from dray.actors.messages import FailureType
from dray.cluster.execution.commands import error_text
from dray.cluster.execution.plan import PENDING, READY
from dray.cluster.execution.scope import Loop, Scope
from dray.cluster.graph.types import Export

SHOWN = 12  # nodes in a message


def leave_behind(scope: Scope, loop: Loop, goes_on: bool) -> None:
    """Of a turn that is over. goes_on: a continue has ended it."""
    region = scope.region
    if region.kind == "each":
        loop.results[scope.turn] = "null" if goes_on else _result(scope)
        for export in region.exports:
            loop.lists[export.outer][scope.turn] = scope.outputs.get(export.slot, "null")
        loop.size += len(loop.results[scope.turn]) + sum(len(each[scope.turn]) for each in loop.lists.values())
        return
    if not region.exports:
        return
    inside, outside = scope.outputs, loop.scope.outputs
    names = {_variable(each, inside[each.slot]) for each in region.exports if each.stays and each.slot in inside}
    for each in region.exports:
        if each.slot in inside:
            outside[each.outer] = inside[each.slot]
        elif each.outer in outside and not (each.stays and _variable(each, outside[each.outer]) not in names):
            del outside[each.outer]  # an earlier turn's, and no longer so


def _result(scope: Scope) -> str:
    """Of an item of a foreach: what led back."""
    taken = set(scope.plan.backs)
    found = [back.slot for back in scope.region.backs if back.edge in taken]
    return scope.outputs.get(found[-1], "null") if found else "null"


def _variable(export: Export, text: str) -> Any:
    """Its name. text: what its node gave, which may be a handler of somebody else's."""
    if export.name is not None:
        return export.name
    value = json.loads(text)
    name = value.get("variable_name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else export.slot


def stuck(scope: Scope) -> str | None:
    """Nothing runs in the scope. Nodes that wait all the same would wait for ever, and must not count as done."""
    state = scope.plan.state
    if PENDING not in state and READY not in state:
        return None
    waiting = [scope.prefix + node.id for node in scope.region.nodes if state[node.index] in (PENDING, READY)]
    names = ", ".join(waiting[:SHOWN]) + (f" and {len(waiting) - SHOWN} more" if len(waiting) > SHOWN else "")
    message = f"a bug of Dray: nothing runs any more, but these nodes were neither run nor skipped: {names}"
    return error_text(FailureType.INTERNAL, message)
