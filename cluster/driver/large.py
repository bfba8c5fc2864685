"""Large outcomes of an execution that is taken up again: which of them anything still reads. Pure.

A driver may take up hundreds of executions at once, after another has died with them. With all that they ever put out,
its memory would not do; while they ran, each output was kept only as long as a node wanted it.
"""

from __future__ import annotations

from collections.abc import Sequence

from dray.cluster.graph.types import Graph
from dray.store.records import Kind, StoredOutcome

# No JSON, so that a node that was given it would fail, and not go on with a wrong value.
UNREAD = "(not loaded)"


def wanted(graph: Graph, stored: Sequence[StoredOutcome]) -> list[StoredOutcome]:
    """Those of the large outcomes that have to be loaded, to go on from what is stored.

    Of the outcomes of nodes outside loops: where a node that is given it has no outcome itself. A loop counts as such a
    node to its end and after, because its turns may be given it. The output of a loop is made anew of its turns'.
    """
    nodes = {node.id: node for node in graph.root.nodes}
    finished = {
        nodes[each.node_key].index
        for each in stored
        if each.kind in (Kind.COMPLETED, Kind.WAITS_FOR_TIME, Kind.FAILED)
        and each.node_key in nodes
        and nodes[each.node_key].inner is None
    }
    read = {slot for node in graph.root.nodes if node.index not in finished for slot in node.reads}

    def is_wanted(each: StoredOutcome) -> bool:
        node = nodes.get(each.node_key)
        if node is None or each.kind not in (Kind.COMPLETED, Kind.WAITS_FOR_TIME):
            return True
        return node.inner is None and node.index in read

    return [each for each in stored if each.large and is_wanted(each)]
