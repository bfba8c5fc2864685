"""From the stored form of a graph to regions, each without a cycle (canonical.py shows it). Trusts what it is given.

An edge that leaves a region becomes an exit of it, and in the region around it an edge of the node that stands for the
whole; and so on outwards, until both ends are in one region. A value read from another region is found by how many
scopes outwards it is (Read.up), and one from inside a loop that is over by its Export.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from dray.actors.messages import NodeSpec
from dray.cluster.errors import GraphInvalid, Problem
from dray.cluster.graph.draft import Draft
from dray.cluster.graph.labels import SELECTING
from dray.cluster.graph.types import (
    BACK,
    BUILTIN,
    EXIT,
    FORMAT,
    LOOPS,
    ORDER,
    WAITING,
    Edge,
    Export,
    Fork,
    Graph,
    Node,
    Region,
)
from dray.cluster.graph.values import Reads, Values
from dray.cluster.graph.written.resources import asks_of

DEFAULT_PARALLEL = 20
_TO_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def load(workflow_id: int, name: str, version: int, stored: dict[str, Any]) -> Graph:
    """The Graph of a stored canonical form. Raises GraphInvalid if what is stored cannot have come from canonical()."""
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        place = f"workflow {name!r} version {version}"
        found = stored.get("format") if isinstance(stored, dict) else None
        message = (
            "was stored without a check: store it again with `dray workflow apply`"
            if found is None
            else f"is stored in format {found!r}, this Dray reads {FORMAT}: use the Dray that stored it, or newer"
        )
        raise GraphInvalid([Problem(place, message)])
    try:
        return Builder(workflow_id, stored).graph(name, version)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        trouble = f"the stored graph is damaged ({type(error).__name__}: {error}): register the workflow again"
        raise GraphInvalid([Problem(f"workflow {name!r} version {version}", trouble)]) from error


class Builder:
    """Makes one Graph. Raises KeyError, TypeError and the like for a form that canonical() cannot have made."""

    def __init__(self, workflow_id: int, stored: dict[str, Any]) -> None:
        self._workflow_id = workflow_id
        self._stored = stored
        self._nodes: dict[str, dict[str, Any]] = {node["id"]: node for node in stored["nodes"]}
        self._root = Draft("root", "", None)
        self._drafts = [self._root]
        self._home: dict[str, Draft] = {}  # id -> its innermost region
        self._asks_errors = any(node["needs"].get("error") for node in self._nodes.values())

    def graph(self, name: str, version: int) -> Graph:
        self._place_nodes()
        for edge in self._stored["edges"] + self._stored.get("added", []):
            self._connect(edge)
        self._set_starts()
        for draft in self._drafts:
            draft.slots = len(draft.ids)
        self._values = Values(self._nodes, self._home, self._drafts)
        made: dict[Draft, Region] = {}
        reads = {node_id: self._values.reads(node_id) for node_id in self._nodes}
        readers = self._readers(reads)
        self._backs = {draft: self._values.ways_back(draft) for draft in self._drafts if draft.kind == "each"}
        for draft in reversed(self._drafts):  # inner ones first
            made[draft] = self._region(draft, reads, readers[draft], made)
        width = max(len(draft.ids) for draft in self._drafts) + 1
        return Graph(self._workflow_id, name, version, made[self._root], width, self._stored.get("timeout"))

    # Nodes

    def _place_nodes(self) -> None:
        described = self._stored.get("regions", [])
        for region in described:
            parent = self._root if region["parent"] is None else self._drafts[region["parent"] + 1]
            self._drafts.append(Draft(region["kind"], region["header"], parent))
        for region, draft in zip(described, self._drafts[1:], strict=True):
            self._home.update((node_id, draft) for node_id in region["nodes"])
        for node_id in self._nodes:
            draft = self._home.setdefault(node_id, self._root)
            draft.add(node_id)
        for draft in self._drafts[1:]:
            parent = draft.parent
            assert parent is not None
            if draft.kind == "cycle":
                parent.add(draft.header)
            parent.inner[draft.place] = draft

    def _connect(self, edge: dict[str, Any]) -> None:
        source, target, role = edge["from"], edge["to"], edge.get("role")
        at = self._home[source]
        if role == "body":
            inner = at.inner[at.local[source]]
            inner.starts.append(inner.local[target])
            return
        start: int = at.local[source]
        label: str | int | None = ORDER if role == "order" else self._label(edge)
        goal = self._home[target]
        if role == "catch" and at.kind == "cycle" and at.header == source and not goal.is_inside(at):
            assert at.parent is not None
            start, at = at.place, at.parent  # the failure of any node of the cycle
        while True:
            if role == "back" and at.header == target:
                at.backs.append((len(at.edges), source))
                at.edges.append(Edge(start, BACK, label))
                return
            inside = goal
            while inside.depth > at.depth:
                assert inside.parent is not None
                inside = inside.parent
            if inside is at:
                break
            at.edges.append(Edge(start, EXIT - at.exits, label))
            label, start = at.exits, at.place
            at.exits += 1
            assert at.parent is not None
            at = at.parent
        at.edges.append(Edge(start, self._local(at, target), label))

    def _local(self, at: Draft, node_id: str) -> int:
        return at.standing_for(node_id, self._home[node_id])

    def _label(self, edge: dict[str, Any]) -> str | None:
        """An edge "success" is one that is always followed, unless its node has a choice of that name."""
        label: str | None = edge["label"]
        if label == "success":
            source = self._nodes[edge["from"]]
            choices = source["config"].get("cases") or source["config"].get("approval_options") or ()
            return label if source["type"] in SELECTING and label in choices else None
        return label

    def _set_starts(self) -> None:
        entry = self._stored["entry"]
        for draft in self._drafts:
            if draft.kind == "cycle":
                draft.starts = [draft.local[draft.header]]
        if entry is not None:
            self._root.starts = [self._local(self._root, entry)]
        else:
            entered = {edge.target for edge in self._root.edges}
            self._root.starts = [node for node in range(len(self._root.ids)) if node not in entered]

    # Regions

    def _region(
        self, draft: Draft, reads: dict[str, Reads], readers: list[list[int]], made: dict[Draft, Region]
    ) -> Region:
        size = len(draft.ids)
        forks = [self._fork(draft, each) for each in self._stored.get("forks", []) if self._home[each["fork"]] is draft]
        member = {node: number for number, fork in enumerate(forks) for node in fork.nodes}
        nodes = tuple(
            self._node(draft, index, reads[node_id], readers[index], member.get(index), made)
            for index, node_id in enumerate(draft.ids)
        )
        out: list[list[int]] = [[] for _ in nodes]
        indegree = [0] * size
        for position, edge in enumerate(draft.edges):
            out[edge.source].append(position)
            if edge.target >= 0:
                indegree[edge.target] += 1
        starts = tuple(dict.fromkeys(draft.starts))
        if draft.kind in LOOPS:
            for node in starts:
                indegree[node] += 1
        known = set(starts)
        never = [node for node in range(size) if not indegree[node] and node not in known]
        consumers: Counter[int] = Counter()
        for each in nodes:
            consumers.update(each.reads)
        consumers.update(slot for slot, _ in draft.exports)
        backs = self._backs.get(draft, [])
        consumers.update(back.slot for back in backs)
        return Region(
            kind=draft.kind,
            header=draft.header,
            nodes=nodes,
            edges=tuple(draft.edges),
            out=tuple(map(tuple, out)),
            indegree=tuple(indegree),
            starts=starts,
            consumers=tuple(consumers[index] for index in range(size)),
            backs=tuple(backs),
            exports=tuple(
                Export(slot, outer, stays, draft.names.get(slot) if stays else None)
                for (slot, stays), outer in draft.exports.items()
            ),
            forks=tuple(forks),
            never=tuple(never),
            rank=tuple(self._values.rank(draft)) if self._asks_errors else (),
        )

    def _readers(self, reads: dict[str, Reads]) -> dict[Draft, list[list[int]]]:
        """Per region and node of it: the values of that region that the node, or a node inside it, is given."""
        found: dict[Draft, list[list[int]]] = {draft: [[] for _ in draft.ids] for draft in self._drafts}
        for node_id, given in reads.items():
            for read in (each for kind in given.values() for each in kind):
                draft = self._home[node_id]
                for _ in range(read.up):
                    assert draft.parent is not None
                    draft = draft.parent
                if 0 <= read.slot < len(draft.ids):
                    found[draft][self._local(draft, node_id)].append(read.slot)
        return found

    def _fork(self, draft: Draft, stored: dict[str, Any]) -> Fork:
        nodes = tuple(dict.fromkeys(self._local(draft, each) for each in stored["nodes"]))
        joins: dict[int, dict[int, int]] = {}
        for each in stored["joins"]:
            join = self._local(draft, each["join"])
            ends = {self._local(draft, end): branch for branch, of in enumerate(each["branches"]) for end in of}
            joins[join] = {
                number: ends[edge.source]
                for number, edge in enumerate(draft.edges)
                if edge.target == join and edge.source in ends
            }
        asides = {
            self._local(draft, node_id): frozenset(self._local(draft, end) for end in each["ends"])
            for each in stored.get("asides", ())
            for node_id in each["nodes"]
        }
        return Fork(stored["fork"], self._local(draft, stored["fork"]), stored["wait"], joins, nodes, asides)

    def _node(
        self,
        draft: Draft,
        index: int,
        reads: Reads,
        readers: list[int],
        fork: int | None,
        made: dict[Draft, Region],
    ) -> Node:
        node_id = draft.ids[index]
        stored = self._nodes[node_id]
        inner = draft.inner.get(index)
        stands_for_cycle = inner is not None and inner.kind == "cycle"
        node_type = "cycle" if stands_for_cycle else stored["type"]
        if stands_for_cycle:
            reads = dict.fromkeys(reads, ())
        config = stored["config"]
        if node_type == "human_approval" and self._has_edge(node_id, "timeout"):
            config = {"on_timeout": "timeout", **config}
        return Node(
            index=index,
            id=node_id,
            type=node_type,
            spec=NodeSpec(f"{self._workflow_id}:{node_id}", node_type, _TO_JSON.encode(config)),
            max_retries=stored.get("max_retries"),
            timeout=stored.get("timeout"),
            needs_input=stored["needs"]["input"],
            needs_nodes=reads["nodes"],
            needs_vars=reads["vars"],
            needs_inputs=reads["inputs"],
            needs_error=bool(stored["needs"].get("error")) and not stands_for_cycle,
            reads=tuple(dict.fromkeys(readers)),
            selects=node_type in SELECTING,
            at_most_once=stored.get("at_most_once", False) and inner is None,
            builtin=node_type in BUILTIN,
            inner=made[inner] if inner is not None else None,
            ends=self._levels(draft, config.get("loop_label")) if node_type in ("break", "continue") else 0,
            fork=fork,
            max_iterations=_whole(stored.get("max_iterations")) or _whole(config.get("max_iterations")),
            max_parallel=_whole(config.get("max_parallel")) or DEFAULT_PARALLEL,
            collect=config.get("on_error") == "collect",
            asks=asks_of(stored.get("resources")),
            life=stored.get("timeout") if node_type in WAITING else None,
        )

    def _has_edge(self, node_id: str, label: str) -> bool:
        return any(edge["from"] == node_id and edge["label"] == label for edge in self._stored["edges"])

    def _levels(self, draft: Draft, label: str | None) -> int:
        """How many scopes outwards the loop is that a break or continue means; the innermost where it names none."""
        here: Draft | None = draft
        levels = 0
        while here is not None:
            if here.kind in LOOPS:
                loop = self._nodes[here.header]
                if not label or label in (loop["id"], loop["config"].get("loop_label")):
                    return levels
            here, levels = here.parent, levels + 1
        raise KeyError(f"loop {label!r}")


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
