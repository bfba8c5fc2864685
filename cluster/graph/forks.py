"""What a fork's options say: how many of its branches are enough, in which order they run, how a merge takes them.

    parallel_wait_mode     all (nothing to derive) | any | n_of_m, with parallel_wait_n
    parallel_aggregation   merge | array | first | last: the merge_strategy of the merge nodes where branches meet
    sequential             true (or parallel: false): one branch after the other, in the order of the edges

They stand at the node that the branches leave, or in its config. A branch is what can be reached over one of its edges
and over no other; where branches meet is a join. Its `failed` edges begin none: none of the others is taken with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from dray.cluster.graph.loops import is_loop
from dray.cluster.graph.regions import Added, LabelledEdge
from dray.cluster.graph.view import View
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.source import Findings, RawGraph, RawNode

ORDER = "order"
KEYS = ("parallel_wait_mode", "parallel_wait_n", "parallel_aggregation", "sequential", "parallel")
STRATEGIES = {"merge": "deep", "array": "array", "first": "first", "last": "last"}
CATCHING = frozenset({"catch", "finally"})
SHARED = -1
MAX_VISITS = 5_000_000  # of nodes behind forks, all together


@dataclass(slots=True)
class _Options:
    mode: str = "all"
    count: int | None = None
    aggregation: str | None = None
    sequential: bool = False


@dataclass(slots=True)
class _Branches:
    """Items. starts: of each branch. owner: item -> its branch, or SHARED. joins: item -> the last of the branches.

    order: all that is behind the fork, each after its predecessors.
    """

    starts: list[int]
    order: list[int]
    owner: dict[int, int] = field(default_factory=dict)
    joins: dict[int, list[int]] = field(default_factory=dict)


def resolve_forks(
    graph: RawGraph,
    edges: Sequence[LabelledEdge],
    view: View,
    configs: list[dict[str, Any]],
    findings: Findings,
) -> tuple[list[dict[str, Any]], list[Added]]:
    """(forks, derived edges of role "order"); outer forks before inner ones. Merge nodes get a strategy in configs."""
    budget = MAX_VISITS
    forks: list[dict[str, Any]] = []
    order: list[Added] = []
    for item in view.order:
        if item >= view.nodes:
            continue
        node = graph.nodes[item]
        given = {key: value for key in KEYS if (value := node.options.get(key, node.config.get(key))) not in (None, "")}
        if not given:
            continue
        options = _read(node, given, findings)
        if is_loop(node):
            if options != _Options():
                findings.warn(node.place, f"{', '.join(given)}: not read, a loop is no fork (foreach has max_parallel)")
            continue
        if options == _Options() or not view.out[item]:
            continue
        branches = _branches(edges, view, item)
        budget -= len(branches.owner)
        if budget < 0:
            findings.problem("graph", "has too many forks with parallel or sequential options: split the workflow")
            return [], []
        if options.mode != "all":
            fork = _fork(graph, view, item, options, branches, findings)
            forks += [fork] if fork else []
        if options.sequential:
            order += _in_order(view, item, branches)
        if options.aggregation:
            _aggregate(graph, view, item, options.aggregation, branches, configs, findings)
    return forks, order


def borne(forks: Sequence[dict[str, Any]], ids: Sequence[str], added: Sequence[Added]) -> list[Added]:
    """Without catch edges out of branches whose failures their fork bears: the join fails in their place."""
    kept = list(added)
    for fork in forks:
        inside = set(fork["nodes"])
        kept = [each for each in kept if each[3] != "catch" or ids[each[0]] not in inside or ids[each[1]] in inside]
    return kept


def _read(node: RawNode, given: dict[str, Any], findings: Findings) -> _Options:
    options = _Options()
    mode = str(given.get("parallel_wait_mode", "all")).lower() or "all"
    if mode not in ("all", "any", "n_of_m"):
        findings.problem(node.place, f"parallel_wait_mode: {quoted(mode)} is none of 'all', 'any', 'n_of_m'")
    elif mode == "any":
        options.mode, options.count = mode, 1
    elif mode == "n_of_m":
        count = _whole(given.get("parallel_wait_n"))
        if count is None or count < 1:
            findings.problem(
                node.place, "parallel_wait_n: must be a whole number, 1 or more, for parallel_wait_mode 'n_of_m'"
            )
        else:
            options.mode, options.count = mode, count
    aggregation = str(given.get("parallel_aggregation", "")).lower()
    if aggregation and aggregation not in STRATEGIES:
        known = ", ".join(map(repr, STRATEGIES))
        findings.problem(node.place, f"parallel_aggregation: {quoted(aggregation)} is none of {known}")
    else:
        options.aggregation = aggregation or None
    options.sequential = _truth(given.get("sequential", False)) or not _truth(given.get("parallel", True))
    return options


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _truth(value: Any) -> bool:
    return value.strip().lower() not in ("", "false", "no", "0") if isinstance(value, str) else bool(value)


def _branches(edges: Sequence[LabelledEdge], view: View, fork: int) -> _Branches:
    """What hangs behind a fork, in topological order, by the branches that lead there."""
    leaving = [(target, number) for target, number in view.out[fork] if edges[number][2] != "failed"]
    starts = list(dict.fromkeys(target for target, _ in leaving))
    found = _Branches(starts, _behind(view, starts))
    number_of = {start: branch for branch, start in enumerate(found.starts)}
    found.owner |= number_of
    for item in found.order:
        for source, number in view.into[item]:
            if source == fork and edges[number][2] != "failed":
                branch = number_of[item]
            elif source in found.owner:
                branch = found.owner[source]
            else:
                continue
            if found.owner.setdefault(item, branch) != branch:
                found.owner[item] = SHARED
    for item in found.order:
        if found.owner[item] == SHARED:
            arriving = [
                source
                for source, number in view.into[item]
                if found.owner.get(source, SHARED) >= 0 or (source == fork and edges[number][2] != "failed")
            ]
            if arriving:
                found.joins[item] = list(dict.fromkeys(arriving))
    return found


def _behind(view: View, starts: Sequence[int]) -> list[int]:
    """All that can be reached from the starts, each after its predecessors."""
    seen = set(starts)
    todo = list(starts)
    while todo:
        for target, _ in view.out[todo.pop()]:
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return sorted(seen, key=view.rank.__getitem__)


def _fork(
    graph: RawGraph, view: View, fork: int, options: _Options, branches: _Branches, findings: Findings
) -> dict[str, Any] | None:
    node, count = graph.nodes[fork], options.count or 1
    if count > len(branches.starts):
        how_many = f"{len(branches.starts)} branch{'es' if len(branches.starts) != 1 else ''}"
        findings.problem(
            node.place, f"parallel_wait_n: waits for {count} of its branches, but has {how_many}: wait for fewer"
        )
        return None
    joins = {
        join: ends
        for join, sources in branches.joins.items()
        if len(ends := _by_branch(branches, sources)) >= count and graph.nodes[view.node(join)].type not in CATCHING
    }
    if len(branches.starts) < 2 or not joins:
        where = "its branches never meet" if len(branches.starts) > 1 else "it has one branch"
        if branches.joins and not joins:
            where = f"no {count} of its branches meet at one node (a catch or finally does not count)"
        findings.warn(node.place, f"parallel_wait_mode {options.mode!r} means nothing here: {where}")
        return None
    leading = _leading_to(view, branches, joins)
    arrive: dict[int, list[int]] = {}  # branch -> the items by which it arrives anywhere
    for end in dict.fromkeys(end for of in joins.values() for branch in of for end in branch):
        if (number := branches.owner.get(end, SHARED)) != SHARED:
            arrive.setdefault(number, []).append(end)
    inside = [item for item in branches.order if item in leading or branches.owner[item] in arrive]
    name = _names(graph, view)
    asides = [
        {"nodes": nodes, "ends": list(map(name, of))}
        for branch, of in arrive.items()
        if (nodes := [name(item) for item in inside if item not in leading and branches.owner[item] == branch])
    ]
    return {
        "fork": node.id,
        "joins": [
            {"join": name(join), "branches": [[name(end) for end in branch] for branch in ends]}
            for join, ends in joins.items()
        ],
        "wait": count,
        "nodes": [name(item) for item in inside],
        **({"asides": asides} if asides else {}),
        **({"aggregation": options.aggregation} if options.aggregation else {}),
    }


def _by_branch(branches: _Branches, ends: Sequence[int]) -> list[list[int]]:
    """The items by which branches arrive somewhere, a list for each branch. An edge of the fork itself is one too."""
    found: dict[int | None, list[int]] = {}
    for end in ends:
        found.setdefault(branches.owner.get(end), []).append(end)
    return list(found.values())


def _leading_to(view: View, branches: _Branches, joins: dict[int, list[list[int]]]) -> set[int]:
    """The items of the branches that lead to a join."""
    seen: set[int] = set()
    todo = [end for ends in joins.values() for branch in ends for end in branch if end in branches.owner]
    while todo:
        item = todo.pop()
        if item not in seen and branches.owner.get(item, SHARED) >= 0:
            seen.add(item)
            todo += [source for source, _ in view.into[item]]
    return seen


def raced(
    graph: RawGraph, view: View, forks: Sequence[dict[str, Any]], edges: Sequence[LabelledEdge]
) -> list[tuple[str, dict[int, int]]]:
    """Of each fork that does not wait for all: its id, and the nodes in its branches -> the number of the branch. What
    they give may be missing elsewhere, as it happens."""
    if not forks:
        return []
    index = {node.id: position for position, node in enumerate(graph.nodes)}
    within: dict[int, list[int]] = {}  # region, as its number among the items -> all that is in it
    for node, home in enumerate(view.regions.home):
        for region in view.regions.around(home):
            within.setdefault(region, []).append(node)
    regions = {
        found.header if found.kind != "cycle" else view.nodes + at: at for at, found in enumerate(view.regions.found)
    }
    found = []
    for fork in forks:
        item = index[fork["fork"]]
        branches = _branches(edges, view, item)
        members = set(fork["nodes"])
        of: dict[int, int] = {}
        for each in branches.order:
            if branches.owner[each] != SHARED and graph.nodes[view.node(each)].id in members:
                nodes = [*within.get(regions.get(each, -2), ()), *([each] if each < view.nodes else ())]
                of.update(dict.fromkeys(nodes, branches.owner[each]))
        found.append((fork["fork"], of))
    return found


def _in_order(view: View, fork: int, branches: _Branches) -> list[Added]:
    """From every end of a branch to the start of the next one. Of a branch is here only what no other way leads to:
    what waits for something else too might wait for a branch whose turn comes later."""
    number_of = {start: branch for branch, start in enumerate(branches.starts)}
    own: dict[int, int] = {}
    for item in branches.order:
        ways = {number_of.get(item) if source == fork else own.get(source) for source, _ in view.into[item]}
        if len(ways) == 1 and item not in view.entered and (branch := ways.pop()) is not None:
            own[item] = branch
    ends: list[list[int]] = [[] for _ in branches.starts]
    for item, branch in own.items():
        if not any(own.get(target) == branch for target, _ in view.out[item]):
            ends[branch].append(item)
    return [
        (view.node(end), view.node(branches.starts[after]), None, ORDER)
        for before, after in pairwise(branch for branch, start in enumerate(branches.starts) if start in own)
        for end in ends[before]
    ]


def _aggregate(
    graph: RawGraph,
    view: View,
    fork: int,
    aggregation: str,
    branches: _Branches,
    configs: list[dict[str, Any]],
    findings: Findings,
) -> None:
    merges = [item for item in branches.joins if item < view.nodes and graph.nodes[item].type == "merge"]
    for item in merges:
        if configs[item].get("merge_strategy") is None:
            configs[item] = {**configs[item], "merge_strategy": STRATEGIES[aggregation]}
    if not merges and aggregation != "merge":
        what = f"parallel_aggregation {aggregation!r} means nothing here"
        findings.warn(graph.nodes[fork].place, f"{what}: its branches do not meet at a merge node")


def _names(graph: RawGraph, view: View) -> Any:
    return lambda item: graph.nodes[view.node(item)].id
