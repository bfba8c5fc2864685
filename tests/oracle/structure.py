"""What docs/workflows.md says of how a graph hangs together: loops and their bodies, forks, tries. Slow and plain.

Written from the page alone; nothing here knows the engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from tests.oracle.parts import BACK, LOOPS, Edge, Region, Unclear
from tests.oracle.ties import Ties


class Structure(Ties):
    def __init__(self, graph: dict[str, Any]) -> None:
        self.nodes: dict[str, dict[str, Any]] = {each["id"]: each for each in graph["nodes"]}
        self.edges = [
            Edge(number, each["from"], each["to"], each.get("branch")) for number, each in enumerate(graph["edges"])
        ]
        self.after: dict[str, list[str]] = {each: [] for each in self.nodes}
        for edge in self.edges:
            self.after[edge.source].append(edge.target)
        self.entries = self._entries(graph.get("entry_node_id"))
        self.jumps: dict[str, str] = {}  # break or continue -> the loop that it means
        self.holders: dict[str, str] = {}  # break or continue -> the innermost loop around it
        self._dominators()
        self._jumps()
        if any(each.source in self.jumps for each in self.edges):
            raise Unclear("an edge leaves a break or continue: is it waited for?")
        self.regions = self._regions()
        for edge in self.edges:
            self._place(edge)
        self._incoming: dict[tuple[Region, str], list[Edge]] = {}
        self.handlers: dict[tuple[Region, str], str] = {}  # unit -> the catch or finally to which its failure leads
        self.behind: dict[str, str] = {}  # catch -> the catch or finally behind it
        self.passes: dict[str, str] = {}  # the other way round
        self.always: dict[str, tuple[str, set[str]]] = {}  # catch or finally -> its try, and what it waits for
        self.later: dict[
            tuple[Region, str], set[str]
        ] = {}  # first of a sequential branch -> all of the branches before
        for region in self.regions:
            self._order(region)
            self._tries(region)
            self._order(region)
        self.forks = [fork for region in self.regions for fork in self._forks(region)]
        meets = [fork.meet for fork in self.forks if fork.mode != "sequential"]
        if len(set(meets)) < len(meets):
            raise Unclear("branches of two forks meet at one node")
        for fork in self.forks:
            if fork.mode == "sequential":
                self._sequence(fork)

    def type(self, node: str) -> str:
        kind: str = self.nodes[node]["type"]
        return str(self.nodes[node].get("config", {}).get("loop_type", "for")) if kind == "loop" else kind

    def is_loop(self, node: str) -> bool:
        return self.nodes[node]["type"] in LOOPS

    def body_edges(self, loop: str, whole: bool = False) -> list[Edge]:
        out = [each for each in self.edges if each.source == loop]
        if any(each.label in ("body", "loop", "done", "exit") for each in out):
            out = [each for each in out if each.label in ("body", "loop")]
            return out if whole else [each for each in out if self._leads_back(each, loop)]
        return [each for each in out if each.label is None and loop in self.reach([each.target], ())]

    def _leads_back(self, edge: Edge, loop: str) -> bool:
        region = self._region_of(loop)
        return region is None or edge.target == loop or region.holds(self.stands(edge.target))

    def reach(self, start: Iterable[str], without: Collection[str]) -> set[str]:
        seen = {each for each in start if each not in without}
        left = list(seen)
        while left:
            for target in self.after[left.pop()]:
                if target not in seen and target not in without:
                    seen.add(target)
                    left.append(target)
        return seen

    def _entries(self, named: str | None) -> list[str]:
        if named is not None:
            return [named]
        drawn = {end for edge in self.edges for end in (edge.source, edge.target)}
        loose = {n for n, each in self.nodes.items() if drawn and n not in drawn and each["type"] != "trigger"}
        found = [each for each in self.nodes if not any(edge.target == each for edge in self.edges)]
        found = [each for each in found if each not in loose]
        reaches = {each: self.reach([each], ()) for each in self.nodes}
        while missing := [each for each in self.nodes if each not in self.reach(found, ()) and each not in loose]:
            # A cycle that nothing enters: at its loop node, else its trigger, else its first node in the list.
            roots = [each for each in missing if all(o in reaches[each] for o in missing if each in reaches[o])]
            triggers = [each for each in roots if self.nodes[each]["type"] == "trigger"]
            found.append(([each for each in roots if self.is_loop(each)] or triggers or roots)[0])
        return found

    def _dominators(self) -> None:
        whole = self.reach(self.entries, ())
        self.dead = set(self.nodes) - whole
        self.dominated = {each: whole - self.reach(self.entries, {each}) for each in whole}  # a node dominates itself

    def dominates(self, one: str, other: str) -> bool:
        return other in self.dominated.get(one, ())

    def _jumps(self) -> None:
        loops = [each for each in self.nodes if self.is_loop(each)]
        bodies = {
            each: self.reach(
                [edge.target for edge in self.body_edges(each, whole=True)],
                {other for other in self.nodes if self.dominates(other, each)},
            )
            for each in loops
        }
        for node in self.nodes:
            if self.nodes[node]["type"] not in ("break", "continue"):
                continue
            around = [each for each in loops if node in bodies[each]]
            inside_out = sorted(around, key=lambda each: -sum(each in bodies[other] for other in around))
            if not inside_out:
                raise Unclear(f"{node} is in no loop")
            self.holders[node] = inside_out[0]
            meant = self.nodes[node].get("config", {}).get("loop_label")
            fits = [e for e in inside_out if meant in (None, e, self.nodes[e].get("config", {}).get("loop_label"))]
            if not fits:
                raise Unclear(f"{node} means no loop around it")
            self.jumps[node] = fits[0]

    def _regions(self) -> list[Region]:
        arrows = [(each.source, each.target) for each in self.edges if each.source not in self.jumps]
        arrows += list(self.holders.items())
        arrows = [each for each in arrows if each[0] not in self.dead]
        bodies: dict[str, set[str]] = {}
        for source, head in arrows:
            if not self.dominates(head, source):
                continue
            body, left = bodies.setdefault(head, {head}), [source]
            while left:
                node = left.pop()
                if node not in body:
                    body.add(node)
                    left += [a for a, b in arrows if b == node]
        self._refuse_circles([each for each in arrows if not self.dominates(each[1], each[0])])
        root = Region(None, "root")
        regions = {head: Region(head, self.type(head) if self.is_loop(head) else "cycle") for head in bodies}
        for loop in self.nodes:
            if self.is_loop(loop) and loop not in regions and loop not in self.dead:
                raise Unclear(f"{loop} has no body")
        for node in self.nodes:
            if node in self.dead:
                continue
            around = sorted((h for h in bodies if node in bodies[h]), key=lambda h: len(bodies[h]))
            if around and around[0] == node:
                region = regions[node]
                region.parent = regions[around[1]] if len(around) > 1 else root
                region.parent.inner[node] = region
                region.parent.units.append(node)
                if region.kind == "cycle":
                    region.units.append(node)
            else:
                (regions[around[0]] if around else root).units.append(node)
        self.root = root
        self.home = {
            unit: region for region in [root, *regions.values()] for unit in region.units if unit != region.head
        }
        return [root, *regions.values()]

    def _refuse_circles(self, arrows: list[tuple[str, str]]) -> None:
        left = set(self.nodes)
        while left:
            free = {each for each in left if not any(b == each and a in left for a, b in arrows)}
            if not free:
                raise Unclear("a cycle with two entries")
            left -= free

    def stands(self, node: str) -> Region:
        """Where a node runs. A loop node stands outside of its body, the head of a cycle inside."""
        for region in self.regions:
            if region.head == node:
                return region if region.kind == "cycle" else region.parent or self.root
        return self.home[node]

    def _region_of(self, head: str) -> Region | None:
        return next((each for each in self.regions if each.head == head), None)

    def _place(self, edge: Edge) -> None:
        if edge.source in self.dead or edge.source in self.jumps:
            edge.origin = edge.home = Region(None, "nowhere")
            return
        edge.origin = self.stands(edge.source)
        if self.is_loop(edge.source) and edge in self.body_edges(edge.source):
            edge.origin = self._region_of(edge.source) or self.root
        headed = self._region_of(edge.target)
        if headed is not None and headed.holds(edge.origin):
            edge.home, edge.into = headed, BACK
        else:
            edge.home = (headed.parent or self.root) if headed is not None else self.stands(edge.target)
            edge.into = edge.target
        if not edge.home.holds(edge.origin):
            raise Unclear(f"{edge.source} -> {edge.target} leads into a body")
        if edge.home is not edge.origin:
            inside: Region | None = edge.origin
            while inside is not None and inside.parent is not edge.home:
                inside = inside.parent
            edge.unit = inside.head if inside else None
            if edge.into != BACK or edge.home is not edge.origin:
                up: Region | None = edge.origin
                while up is not None and up is not edge.home:
                    if up.kind == "foreach":
                        raise Unclear("an edge leads out of the body of a foreach")
                    up = up.parent
        elif edge.source == edge.home.head and edge.home.kind != "cycle":
            edge.unit = None
        else:
            edge.unit = edge.source

    def incoming(self, region: Region, unit: str) -> list[Edge]:
        if (region, unit) not in self._incoming:
            self._incoming[region, unit] = [e for e in self.edges if e.home is region and e.into == unit]
        return self._incoming[region, unit]

    def _order(self, region: Region) -> None:
        """above: over edges, and over what a catch, a finally or a sequential branch waits for besides."""
        waits: dict[str, set[str]] = {
            unit: {e.unit for e in self.incoming(region, unit) if e.unit is not None}
            | (
                self.always[unit][1] | {self.always[unit][0]}
                if unit in self.always and self.home.get(unit) is region
                else set()
            )
            | self.later.get((region, unit), set())
            for unit in region.units
        }
        region.above = {}
        for unit in region.units:
            seen: set[str] = set()
            left = list(waits[unit])
            while left:
                each = left.pop()
                if each not in seen:
                    seen.add(each)
                    left += waits[each]
            if unit in seen:
                raise Unclear(f"{unit} would wait for itself")
            region.above[unit] = seen
        for unit in sorted(region.units, key=lambda each: len(region.above[each])):
            region.depth[unit] = max(
                (region.depth[e.unit] + 1 for e in self.incoming(region, unit) if e.unit), default=0
            )

    def last_of(self, region: Region, units: Collection[str]) -> str:
        """Of units that side by side did the same, the one that counts."""
        names = list(self.nodes)
        return max(units, key=lambda each: (region.depth[each], names.index(each)))
