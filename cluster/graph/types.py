"""The graph of one workflow version as executions share it in memory, thousands of them: nothing in it ever changes."""

from __future__ import annotations

from dataclasses import dataclass

from dray.actors.messages import NodeSpec
from dray.actors.pool.shapes import Asks

FORMAT = 1  # of the stored form, which canonical.py shows
BUILTIN = frozenset({"trigger", "try", "break", "continue"})  # done by the plan itself, no handler is called
WAITING = frozenset({"delay", "wait", "wait_for_signal", "human_approval", "sub_workflow", "sub-workflow"})
BACK = -1  # Edge.target: the header of the region
EXIT = -2  # Edge.target: EXIT - n is the n-th exit of the region
HEADER = -1  # Read.slot: the turn's index and item
LOOPS = frozenset({"each", "for", "while"})  # kinds of regions that a loop node repeats
ORDER = -1  # Edge.label: never followed


@dataclass(frozen=True, slots=True)
class Read:
    """A value that a node is given. up: how many scopes outwards. slot: of the values there. id: of the node that gave
    it."""

    up: int
    slot: int
    id: str


@dataclass(frozen=True, slots=True)
class Node:
    """One node, as the plan needs it. In a region, a whole inner region is one node: its loop node, or its header.

    index: in its region. max_retries, timeout (seconds), max_iterations: None where the node does not say.
    needs_vars: set_variable nodes before this one, the one that counts last. needs_inputs: direct predecessors, in
    the order of the edges. needs_error: the failure that led here. reads: the values of its own region
    that it, or a node inside it, is given; each once. selects: its edges are chosen by label. inner: the region that
    it stands for. builtin: done by the plan, without a handler. ends: of break and continue, how many scopes outwards
    the loop is. fork: the Fork that it is a branch of. max_parallel, collect: of a foreach. asks: for a runner of its
    own kind. life: seconds from its first start to its end, of a node that waits and has such a time-out.
    """

    index: int
    id: str
    type: str
    spec: NodeSpec
    max_retries: int | None
    timeout: float | None
    needs_input: bool
    needs_nodes: tuple[Read, ...]
    needs_vars: tuple[Read, ...]
    needs_inputs: tuple[Read, ...]
    needs_error: bool
    reads: tuple[int, ...]
    selects: bool
    at_most_once: bool
    builtin: bool
    inner: Region | None = None
    ends: int = 0
    fork: int | None = None
    max_iterations: int | None = None
    max_parallel: int = 1
    collect: bool = False
    asks: Asks | None = None
    life: float | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """source, target: nodes of the region; a target below 0 is outside: BACK, or EXIT - n for its n-th exit.

    label: None = followed when the node completes; "failed" = when it fails; ORDER = never, it only has to be decided;
    n = when the region that the node stands for was left by its n-th exit. Any other label, which may be the name of a
    case, is followed when the node answers it.
    """

    source: int
    target: int
    label: str | int | None


@dataclass(frozen=True, slots=True)
class Fork:
    """Branches of which `wait` are enough. node: which they leave. joins: node -> {edge by which a branch arrives:
    number of the branch}. nodes: of the branches. asides: of these, those that lead to no join -> the nodes by which
    their branch arrives.
    """

    id: str
    node: int
    wait: int
    joins: dict[int, dict[int, int]]
    nodes: tuple[int, ...]
    asides: dict[int, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Back:
    """A way back to the header of a foreach. edge: its number. slot: of what its node gave."""

    edge: int
    slot: int


@dataclass(frozen=True, slots=True)
class Export:
    """A value that outlives a turn. slot: in its scope; outer: in the scope around it. stays: also when a later turn
    does not set it, as a variable, unless that turn sets the variable elsewhere. name: of the variable; None where
    only its value tells it."""

    slot: int
    outer: int
    stays: bool
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the graph without cycles: the whole, or what a loop repeats. Its runs are scopes.

    kind: root, each, for, while or cycle. header: the id of the loop node, or of the node that the back edge enters.
    out: indexes of the edges that leave each node. indegree: how many edges enter it, those into a loop's body too.
    starts: where a scope begins; of a loop, the targets of its body edges. never: what no edge enters and is no start.
    rank: of each node, for the question which of several failures counts; empty where no node of the graph asks.
    consumers: how many nodes are given each node's output; 0 = it need not be kept. backs: of a foreach, the ways back;
    the result of an item is what the last of them that was taken brought.
    """

    kind: str
    header: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    out: tuple[tuple[int, ...], ...]
    indegree: tuple[int, ...]
    starts: tuple[int, ...]
    consumers: tuple[int, ...]
    backs: tuple[Back, ...] = ()
    exports: tuple[Export, ...] = ()
    forks: tuple[Fork, ...] = ()
    never: tuple[int, ...] = ()
    rank: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """One workflow version, ready to run. timeout: seconds for the whole execution, None = the setting decides.

    width: more than the nodes of any region.
    """

    workflow_id: int
    name: str
    version: int
    root: Region
    width: int
    timeout: float | None


# For an execution whose graph cannot be used, and for what is over.
NO_GRAPH = Graph(0, "", 0, Region("root", "", (), (), (), (), (), ()), 1, None)
