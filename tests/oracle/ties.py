"""What ties nodes together besides edges: tries with their catch and finally, forks with their options."""

from __future__ import annotations

from tests.oracle.parts import BACK, Edge, Fork, Region, Unclear, option


class Ties:
    """The part of the Structure that is about them."""

    def _tries(self, region: Region) -> None:
        """A catch belongs to the innermost try before it that has none yet; more of them follow the first."""
        kinds = {unit: self.nodes[unit]["type"] for unit in region.units if unit not in region.inner}
        ordered = sorted(kinds, key=lambda unit: (len(region.above[unit]), unit))
        catches: dict[str, list[str]] = {each: [] for each in ordered if kinds[each] == "try"}
        finals: dict[str, str] = {}
        for unit in ordered:
            if kinds[unit] not in ("catch", "finally"):
                continue
            self._not_beside(region, unit, kinds)
            before = self._open_tries(region, unit, catches)
            if kinds[unit] == "finally":
                fitting = [each for each in before if each not in finals]
            else:
                more = [each for each in before if catches[each] and each not in finals]
                fitting = [each for each in before if not catches[each]] or more
            if fitting and kinds[unit] == "finally":
                finals[fitting[0]] = unit
            elif fitting:
                catches[fitting[0]].append(unit)
            elif kinds[unit] == "finally" or not any(e.label == "failed" for e in self.incoming(region, unit)):
                raise Unclear(f"{unit} has no try")
        for start in sorted(catches, key=lambda each: -len(region.above[each])):
            self._protect(region, start, catches[start], finals.get(start), kinds)

    def _not_beside(self, region: Region, unit: str, kinds: dict[str, str]) -> None:
        above = region.above
        others = [each for each in kinds if kinds[each] in ("catch", "finally") and each != unit]
        tries = {each for each in kinds if kinds[each] == "try" and each in above[unit]}
        if any(each not in above[unit] and unit not in above[each] and tries & above[each] for each in others):
            raise Unclear(f"{unit} and another one stand side by side behind a try")

    def _open_tries(self, region: Region, unit: str, catches: dict[str, list[str]]) -> list[str]:
        """Those before it, the innermost first, but for what the catch of one around has closed."""
        above = region.above
        closing = [(start, each) for start, chain in catches.items() for each in chain if each in above[unit]]
        before = [each for each in catches if each in above[unit]]
        before = [t for t in before if not any(t in above[each] and start in above[t] for start, each in closing)]
        return sorted(before, key=lambda each: -len(above[each]))

    def _protect(self, region: Region, start: str, catches: list[str], end: str | None, kinds: dict[str, str]) -> None:
        chain = [*catches, *([end] if end else [])]
        if not chain:
            raise Unclear(f"{start} has neither catch nor finally")
        previous, guarded = start, set[str]()
        for place, unit in enumerate(chain):
            between = {e for e in region.above[unit] if previous in region.above[e]}
            guarded |= between
            known = between | {start, *chain}
            if any(e.unit not in known for each in between | {unit} for e in self.incoming(region, each)):
                raise Unclear(f"a way leads around {start} into what it protects")
            self.always[unit] = (start, set(guarded) | set(chain[:place]))
            for each in between:
                if kinds.get(each) != "try":
                    self.handlers.setdefault((region, each), unit)
            if place:
                self.handlers.setdefault((region, previous), unit)
                self.behind[previous], self.passes[unit] = unit, previous
            previous = unit

    def _forks(self, region: Region) -> list[Fork]:
        found = []
        for unit in region.units:
            if unit in region.inner:
                continue
            node = self.nodes[unit]
            mode = option(node, "parallel_wait_mode") or "all"
            if option(node, "sequential") or option(node, "parallel") is False:
                mode = "sequential"
            edges = [e for e in self.edges if e.source == unit and e.origin is region and e.label != "failed"]
            edges = [e for e in edges if e.home is region and e.into != BACK]
            if mode == "all" or len(edges) < 2:
                continue
            if len({e.into for e in edges}) < len(edges):
                raise Unclear(f"two edges of {unit} lead to one node")
            below = {e.number: {e.into} | {u for u in region.units if e.into in region.above[u]} for e in edges}
            branches = [
                (e, below[e.number] - set().union(*(below[o.number] for o in edges if o is not e))) for e in edges
            ]
            if mode == "sequential":
                branches = [(e, self._only_over(region, e)) for e in edges]
            shared = set().union(*below.values()) - set().union(*(private for _, private in branches))
            meets = [each for each in shared if not region.above[each] & shared]
            if mode != "sequential":
                branches = self._counted(region, unit, branches, meets)
            needed = 1 if mode == "any" else int(option(node, "parallel_wait_n") or 1)
            found.append(Fork(unit, mode, needed, branches, meets[0] if meets else None))
        return found

    def _counted(
        self, region: Region, unit: str, branches: list[tuple[Edge, set[str]]], meets: list[str]
    ) -> list[tuple[Edge, set[str]]]:
        """The branches that lead to the node where they meet."""
        if len(meets) != 1:
            raise Unclear(f"the branches of {unit} meet at {len(meets)} nodes")
        meet = meets[0]
        for private in (each for _, each in branches):
            if any(e.unit in private and e.home is region and e.into not in private | {meet} for e in self.edges):
                raise Unclear(f"a branch of {unit} leads past the node where they meet")
        return [each for each in branches if each[0].into == meet or each[0].into in region.above[meet]]

    def _only_over(self, region: Region, edge: Edge) -> set[str]:
        """What no other way leads to."""
        found: set[str] = set()
        while True:
            more = {
                unit
                for unit in region.units
                if unit not in found
                and (into := [e for e in self.incoming(region, unit) if (e.source, e.label) != (edge.source, "failed")])
                and all(e is edge or e.unit in found for e in into)
            }
            if not more:
                return found
            found |= more

    def _sequence(self, fork: Fork) -> None:
        """A branch begins when all of those before it has ended."""
        region, done = self.home[fork.node], set[str]()
        for edge, private in fork.branches:
            if edge.into in private:
                self.later.setdefault((region, edge.into), set()).update(done)
            done |= private
        self._order(region)
