"""What a node is given: the values of its scope, and of those around it, that it names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dray.actors.messages import NodeTask
from dray.cluster.execution.scope import Scope, outwards
from dray.cluster.execution.scopes import Scopes
from dray.cluster.graph.types import Node, Read

CATCHING = frozenset({"catch", "finally"})


def node_task(
    scopes: Scopes,
    slot: int,
    number: int,
    execution: str,
    workflow: str,
    attempt: int,
    timeout: float,
    input: str,  # noqa: A002 - the word for it
    news: str | None,
) -> NodeTask:
    """The message for a runner. input: of the execution; sent only to a node that names it."""
    scope, node = scopes.at(slot)
    return NodeTask(
        number,
        node.spec.key,
        execution,
        scopes.key(slot),
        attempt,
        timeout,
        input if node.needs_input else None,
        _given(scope, node.needs_nodes) if node.needs_nodes else (),
        tuple(text for _, text in _given(scope, node.needs_vars)) if node.needs_vars else (),
        _given(scope, _as_arrived(scope, node)) if node.needs_inputs else (),
        workflow,
        _error(scope, node) if node.needs_error else None,
        news,
    )


def _given(scope: Scope, reads: Iterable[Read]) -> tuple[tuple[str, str], ...]:
    """(id, output) of those that there is one of."""
    found = []
    for read in reads:
        here = outwards(scope, read.up) if read.up else scope
        text = here.header if read.slot < 0 else here.outputs.get(read.slot)
        if text is not None:
            found.append((read.id, text))
    return tuple(found)


def _as_arrived(scope: Scope, node: Node) -> Sequence[Read]:
    """The inputs; of a join that did not wait for all of them the first to arrive first, and nothing of a branch that
    has not."""
    if not scope.region.forks:
        return node.needs_inputs
    order = {index: position for position, index in enumerate(scope.plan.arrivals(node.index))}
    late = scope.plan.late(node.index)
    given = [read for read in node.needs_inputs if read.slot not in late]
    return sorted(given, key=lambda read: order.get(read.slot, len(order)))


def _error(scope: Scope, node: Node) -> str | None:
    """The failure that led to the node: in its turn, else to the loops around it. A catch and a finally have only what
    came to them over an error edge; what led to their try has been caught elsewhere."""
    index = node.index
    told = scope.plan.told.get(index)
    if node.type in CATCHING:
        return told.error if told is not None and told.direct else None
    while told is None and scope.loop is not None:
        index, scope = scope.loop.node.index, scope.loop.scope
        told = scope.plan.told.get(index)
    return told.error if told is not None else None
