"""Order in a directed graph: topological order, cycles, reach and ancestors, each in one pass over nodes and edges.

Nodes are numbers 0..n-1 and `out[i]` lists the targets of node i (a target may be listed twice). Nothing here
recurses: a chain of 50,000 nodes must not meet Python's recursion limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

Out = Sequence[Sequence[int]]


def topological(out: Out) -> list[int]:
    """The nodes, each after all its predecessors; among equals the smaller number first in line.

    Nodes on a cycle, or behind one, are missing: the result is shorter than `out` exactly when there is a cycle.
    """
    waiting = _indegree(out)
    order = [node for node, count in enumerate(waiting) if count == 0]
    for node in order:  # grows while it is walked
        for target in out[node]:
            waiting[target] -= 1
            if waiting[target] == 0:
                order.append(target)
    return order


def distances(out: Out) -> list[int]:
    """The longest way to each node, in edges. For a graph without cycles."""
    far = [0] * len(out)
    for node in topological(out):
        for target in out[node]:
            far[target] = max(far[target], far[node] + 1)
    return far


def reachable(out: Out, start: int) -> set[int]:
    """`start` and every node that can be reached from it."""
    seen = {start}
    todo = [start]
    while todo:
        for target in out[todo.pop()]:
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def ancestors(
    out: Out, order: Sequence[int], asked: Mapping[int, frozenset[int]], limit: int
) -> dict[int, list[int]] | None:
    """For each node of `asked`: which of the nodes asked for are its ancestors, in topological order.

    None if there are more than `limit` in all. order: topological(out) of a graph without cycles. Ancestors are carried
    along as the bits of one int, dropped when the last successor has taken it, so a long chain costs no memory.
    """
    rank = {node: position for position, node in enumerate(order)}
    tracked = sorted(set().union(*asked.values()), key=rank.__getitem__)
    own = {node: 1 << bit for bit, node in enumerate(tracked)}
    masks: dict[frozenset[int], int] = {}
    above: dict[int, int] = {}
    found: dict[int, list[int]] = {}
    for node in order:
        bits = above.pop(node, 0)
        if node in asked:
            wanted = asked[node]
            if wanted not in masks:
                masks[wanted] = _mask(own[each] for each in wanted)
            kept = bits & masks[wanted]
            limit -= kept.bit_count()
            if limit < 0:
                return None
            found[node] = [tracked[bit] for bit in _set_bits(kept)]
        bits |= own.get(node, 0)
        if bits:
            for target in out[node]:
                above[target] = above[target] | bits if target in above else bits
    return found


def _indegree(out: Out) -> list[int]:
    counts = [0] * len(out)
    for targets in out:
        for target in targets:
            counts[target] += 1
    return counts


def _mask(bits: Iterable[int]) -> int:
    mask = 0
    for bit in bits:
        mask |= bit
    return mask


def _set_bits(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def knots(out: Out) -> list[set[int]]:
    """Strongly connected components of two nodes or more (Tarjan's algorithm, with its own stack)."""
    number = [0] * len(out)  # 0: not met yet
    low = [0] * len(out)
    on_path = [False] * len(out)
    path: list[int] = []
    found: list[set[int]] = []
    count = 0
    for root in range(len(out)):
        calls = [] if number[root] else [(root, 0)]
        while calls:
            node, at = calls.pop()
            if at == 0:
                count += 1
                number[node] = low[node] = count
                path.append(node)
                on_path[node] = True
            else:
                low[node] = min(low[node], low[out[node][at - 1]])
            while at < len(out[node]) and number[out[node][at]]:
                if on_path[out[node][at]]:
                    low[node] = min(low[node], number[out[node][at]])
                at += 1
            if at < len(out[node]):
                calls += [(node, at + 1), (out[node][at], 0)]
            elif low[node] == number[node]:
                knot = _unwind(path, node, on_path)
                if len(knot) > 1:
                    found.append(knot)
    return found


def _unwind(path: list[int], node: int, on_path: list[bool]) -> set[int]:
    knot: set[int] = set()
    while node not in knot:
        last = path.pop()
        on_path[last] = False
        knot.add(last)
    return knot


def cycle_in(out: Out, knot: set[int], start: int) -> list[int]:
    """A shortest cycle through this node of a knot (breadth first): what is printed should be short."""
    came_from: dict[int, int] = {}
    level = [start]
    while start not in came_from:
        upper, level = level, []
        for node in upper:
            for target in out[node]:
                if target in knot and target not in came_from:
                    came_from[target] = node
                    level.append(target)
    cycle = [start]
    while came_from[cycle[-1]] != start:
        cycle.append(came_from[cycle[-1]])
    return [start, *reversed(cycle[1:])]
