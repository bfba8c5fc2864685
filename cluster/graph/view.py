"""A graph with its regions as one without cycles, in the two ways that the checks need it.

View      each region by itself, an inner region being one item of it
unfolded  all nodes together, each region's end a node of its own, so that what is before a node can be asked
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dray.cluster.graph import order
from dray.cluster.graph.regions import ROOT, LabelledEdge, Regions


class View:
    """Items are nodes, and one more for each cycle: len(home) + its index. A loop node stands for its body.

    out, into: item -> (item, number of the edge) within one region. entered: items that an edge into a body leads to.
    order: all items, each after its predecessors; rank: item -> its place there.
    """

    def __init__(self, edges: Sequence[LabelledEdge], regions: Regions) -> None:
        self.regions = regions
        self.numbered = len(edges)
        self.nodes = len(regions.home)
        count = self.nodes + len(regions.found)
        self.out: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        self.into: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        self.entered: set[int] = set()
        bodies = {each.header: index for index, each in enumerate(regions.found) if each.kind != "cycle"}
        for number, (source, target, _) in enumerate(edges):
            if regions.roles[number] == "body":
                self.entered.add(self.item(target, bodies[source]))
            elif regions.roles[number] is None:
                region = regions.common(regions.home[source], regions.home[target])
                start, end = self.item(source, region), self.item(target, region)
                self.out[start].append((end, number))
                self.into[end].append((start, number))
        self.order = order.topological([[end for end, _ in out] for out in self.out])
        self.rank = {item: position for position, item in enumerate(self.order)}

    def item(self, node: int, region: int) -> int:
        """What stands for the node in a region that it is in."""
        home, found = self.regions.home[node], self.regions.found
        item = node
        while home != region:
            item = found[home].header if found[home].kind != "cycle" else self.nodes + home
            home = found[home].parent
        return item

    def node(self, item: int) -> int:
        """The node by whose id an item goes: a cycle's header."""
        return item if item < self.nodes else self.regions.found[item - self.nodes].header

    def home(self, item: int) -> int:
        """The region that it is an item of."""
        return self.regions.home[item] if item < self.nodes else self.regions.found[item - self.nodes].parent

    def is_used(self, item: int) -> bool:
        return item < self.nodes or self.regions.found[item - self.nodes].kind == "cycle"


def unfolded(
    edges: Sequence[LabelledEdge], regions: Regions, added: Iterable[tuple[int, int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """out and into of all nodes, and of one more for the end of each region: len(home) + its index.

    Without back edges. What a loop leads to, from its node or from inside, comes after its end, and so after all of it.
    """
    count = len(regions.home)
    out: list[list[int]] = [[] for _ in range(count + len(regions.found))]
    into: list[list[int]] = [[] for _ in range(count)]
    ends = {region.header: count + index for index, region in enumerate(regions.found) if region.kind != "cycle"}
    for number, (source, target, _) in enumerate(edges):
        role = regions.roles[number]
        if role == "back":
            continue
        into[target].append(source)
        out[source if role == "body" else _end(regions, ends, source, target)].append(target)
    for source, target in added:
        out[_end(regions, ends, source, target)].append(target)
    for node, home in enumerate(regions.home):
        if home != ROOT and not out[ends.get(node, node)]:
            out[ends.get(node, node)].append(count + home)
    for index in range(len(regions.found) - 1, -1, -1):
        region = regions.found[index]
        if region.kind == "cycle" and region.parent != ROOT and not out[count + index]:
            out[count + index].append(count + region.parent)
    return out, into


def _end(regions: Regions, ends: dict[int, int], source: int, target: int) -> int:
    """The source of an edge, or the end of the outermost region that it leaves."""
    here = ends.get(source, source)
    home = regions.home[source]
    if home == regions.home[target]:
        return here
    region = regions.common(regions.home[source], regions.home[target])
    while home != region:
        here = len(regions.home) + home
        home = regions.found[home].parent
    return here
