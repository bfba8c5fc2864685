"""Which nodes may run now: a fold of outcomes over a graph. Pure, and cheap: an outcome costs the edges it touches.

In an execution each edge is open, taken or dead. A finished node takes some of its edges and kills the others:

    completed           takes the edges without a label, and of a node that selects those with the label that it
                        answered; kills the rest
    failed              takes the edges labelled "failed", kills the rest

A node all of whose incoming edges are decided is ready if one was taken; else it is skipped, and its own edges die. So
a join never dead-locks and runs once. Skips are derived, never stored. Outcomes may come in any order and more than
once: the same set of them gives the same state.
"""

from __future__ import annotations

from cluster.graph import Graph

PENDING, READY, COMPLETED, FAILED, SKIPPED = range(5)


class Plan:
    """The state of one execution's nodes. active: nodes that are ready and not finished; 0 = nothing is left to run."""

    __slots__ = ("_open", "_taken", "active", "graph", "state")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.state = bytearray(len(graph.nodes))
        self._open = list(graph.indegree)
        self._taken = bytearray(len(graph.nodes))
        self.active = 0

    def start(self) -> list[int]:
        """The nodes that an execution begins with."""
        return [node for node in self.graph.starts if self._make_ready(node)]

    def completed(self, node: int, branch: str | None = None) -> list[int]:
        """Take in that a node completed; gives the nodes that became ready by it. branch: the label it answered."""
        if not self._finish(node, COMPLETED):
            return []
        edges = self.graph.edges
        taken = (None, branch) if self.graph.nodes[node].selects else (None,)
        return self._decide([(edge, edges[edge].label in taken) for edge in self.graph.out[node]])

    def failed(self, node: int) -> list[int]:
        """Take in that a node failed for good; gives the nodes that its error edges made ready."""
        if not self._finish(node, FAILED):
            return []
        edges = self.graph.edges
        return self._decide([(edge, edges[edge].label == "failed") for edge in self.graph.out[node]])

    def catches(self, node: int) -> bool:
        """Whether an error edge leaves the node, so that its failure is not the execution's."""
        edges = self.graph.edges
        return any(edges[edge].label == "failed" for edge in self.graph.out[node])

    def ready(self) -> list[int]:
        """All nodes that are ready and not finished."""
        return [node for node, state in enumerate(self.state) if state == READY]

    def _make_ready(self, node: int) -> bool:
        if self.state[node] != PENDING:
            return False
        self.state[node] = READY
        self.active += 1
        return True

    def _finish(self, node: int, state: int) -> bool:
        before = self.state[node]
        if before >= COMPLETED:
            return False
        if before == READY:
            self.active -= 1
        self.state[node] = state
        return True

    def _decide(self, decided: list[tuple[int, bool]]) -> list[int]:
        """Decide edges, and all that follows from it; gives the nodes that became ready."""
        ready: list[int] = []
        edges, open_, out = self.graph.edges, self._open, self.graph.out
        for edge, taken in decided:  # grows while it is walked: the edges of skipped nodes are put behind
            target = edges[edge].target
            open_[target] -= 1
            if taken:
                self._taken[target] = 1
            if open_[target]:
                continue
            if self._taken[target]:
                if self._make_ready(target):
                    ready.append(target)
            elif self.state[target] == PENDING:
                self.state[target] = SKIPPED
                decided.extend((each, False) for each in out[target])
        return ready
