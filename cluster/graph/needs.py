"""What each node must be given: only outputs that are decided before it, so that it sees the same in every run.

A node may read those before it in its own region, those before the loops around it, the loop nodes around it (their
turn), and what is in loops that are before it. The condition of a while may read its own body (the last turn). Of
variables a node sees those set before it, and in a loop those of earlier turns; what the items of a foreach set stays
inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dray.actors.expressions.config import References, is_template
from dray.actors.registry import HandlerSpec
from dray.cluster.graph import order
from dray.cluster.graph.regions import Added, LabelledEdge, Regions
from dray.cluster.graph.view import unfolded
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.nearest import Nearest
from dray.cluster.graph.written.source import Findings, RawGraph, RawNode

# Outputs that the nodes of one graph read, all together: what the plan walks for one execution.
MAX_READS = 1_000_000
CATCHING = frozenset({"catch", "finally"})


class Needs:
    def __init__(
        self,
        graph: RawGraph,
        edges: Sequence[LabelledEdge],
        regions: Regions,
        added: Sequence[Added],
        references: Sequence[References],
        handlers: Mapping[str, HandlerSpec],
    ) -> None:
        self.graph = graph
        self.regions = regions
        self.references = references
        self.index = {node.id: position for position, node in enumerate(graph.nodes)}
        self.wants = [handlers[node.type].needs if node.type in handlers else frozenset() for node in graph.nodes]
        self.out, self.into = unfolded(edges, regions, [(source, target) for source, target, _, _ in added])
        self.order = order.topological(self.out)
        self.rank = {node: position for position, node in enumerate(self.order)}
        self.whiles = {each.header: index for index, each in enumerate(regions.found) if each.kind == "while"}
        self.everything = frozenset(range(len(graph.nodes)))
        self.raced: list[tuple[str, dict[int, int]]] = []  # as forks.raced() gives it
        self.failing: dict[int, set[int]] = {}
        for source, target, label in [*edges, *(each[:3] for each in added)]:
            if label == "failed":
                self.failing.setdefault(target, set()).add(source)

    def settle(self, findings: Findings) -> list[dict[str, Any]]:
        """Per node; empty if too much is read."""
        named = [frozenset(self.index[each] for each in references.nodes) for references in self.references]
        nodes = self._ancestors(self._far(named))
        variables = self._variables()
        if nodes is None or variables is None:
            what = "outputs" if nodes is None else "variables"
            limit = f"{MAX_READS:,}"
            findings.problem(
                "graph", f"its nodes read {what} of others more than {limit} times in all: split the workflow"
            )
            return []
        self._tell_unset(variables, findings)
        errors = self._errors(findings)
        ids = [node.id for node in self.graph.nodes]
        found = []
        for position, node in enumerate(self.graph.nodes):
            read = self._read(position, named[position])
            before = set(nodes.get(position, ())) | read.intersection(self.into[position])
            before |= self._own_body(position, named[position])
            for missing in sorted(named[position] - before):
                message = f"config reads the output of {_unreadable(ids[missing], node)}"
                findings.problem(node.place, message)
            before -= self._raced(position, before, named[position], findings)
            inputs = dict.fromkeys(self.into[position]) if "inputs" in self.wants[position] else ()
            needs: dict[str, Any] = {"input": self.references[position].input or "input" in self.wants[position]}
            needs["nodes"] = [ids[each] for each in sorted(before, key=self.rank.__getitem__)]
            needs["vars"] = [ids[each] for each in variables.get(position, ())]
            needs["inputs"] = [ids[each] for each in inputs]
            if position in errors:
                needs["error"] = [ids[each] for each in errors[position]]
            found.append(needs)
        return found

    def _raced(self, position: int, before: set[int], named: frozenset[int], findings: Findings) -> set[int]:
        """Of the nodes that this one may read: those of branches that may be cancelled, if it is in none of them."""
        found: set[int] = set()
        for fork, branch_of in self.raced:
            branch = branch_of.get(position)
            inside = sorted(each for each in before if branch_of.get(each, branch) != branch)
            found.update(inside)
            if told := named.intersection(inside):
                ids = self.graph.nodes
                what = f"{quoted(ids[min(told)].id)}, which is in a branch of {quoted(fork)} that may be cancelled"
                way = "read the merge where the branches meet, or let it wait for all"
                findings.problem(ids[position].place, f"config reads the output of {what}: {way}")
        return found

    def _read(self, position: int, named: frozenset[int]) -> frozenset[int]:
        """All, where an id is computed: `nodes[expression]` may read whatever ran before."""
        return self.everything if self.references[position].any_node else named

    def _far(self, named: Sequence[frozenset[int]]) -> dict[int, frozenset[int]]:
        """What must be asked: predecessors need not, so that a long chain stays cheap."""
        far: dict[int, frozenset[int]] = {}
        for position, nodes in enumerate(named):
            read = self._read(position, nodes)
            asked = read if read is self.everything else read.difference(self.into[position])
            if asked:
                far[position] = asked
        return far

    def _ancestors(self, asked: dict[int, frozenset[int]]) -> dict[int, list[int]] | None:
        return order.ancestors(self.out, self.order, asked, MAX_READS)

    def _own_body(self, position: int, named: frozenset[int]) -> set[int]:
        """Of the nodes named by the condition of a while, those that are in its body."""
        region = self.whiles.get(position)
        return set() if region is None else {node for node in named if self.regions.is_inside(node, region)}

    # Variables

    def _variables(self) -> dict[int, list[int]] | None:
        setters = frozenset(n for n, node in enumerate(self.graph.nodes) if node.type == "set_variable")
        readers = [
            position
            for position, references in enumerate(self.references)
            if setters and (references.vars or "vars" in self.wants[position])
        ]
        before = self._ancestors(dict.fromkeys(readers, setters))
        if before is None or not self.regions.found:
            return before
        left = MAX_READS
        earlier = self._set_inside(setters)
        for reader in readers:
            seen = {each for each in before[reader] if self._is_visible(each, reader)}
            for region in self.regions.around(self.whiles.get(reader, self.regions.home[reader])):
                seen.update(earlier[region])
            left -= len(seen)
            if left < 0:
                return None
            before[reader] = sorted(seen, key=self.rank.__getitem__)
        return before

    def _tell_unset(self, variables: Mapping[int, Sequence[int]], findings: Findings) -> None:
        """Of variables that nobody sets before they are read."""
        sets = {position: _name(node) for position, node in enumerate(self.graph.nodes) if node.type == "set_variable"}
        names = {name: position for position, name in reversed(sets.items()) if name is not None}
        nearest = Nearest()
        for position, node in enumerate(self.graph.nodes):
            read = self.references[position].variables
            if node.type == "get_variable" and (name := _name(node)) is not None:
                read |= {name}
            if not read:
                continue
            known = {sets[each] for each in variables.get(position, ())}
            if None in known:  # computed: it may be any
                continue
            for name in sorted(read - known):
                if name not in names:
                    todo = f"is set by no node{nearest.hint(name, names)}"
                else:
                    todo = f"is not set before it: draw a way from {quoted(self.graph.nodes[names[name]].id)} to it"
                findings.warn(node.place, f"config reads the variable {quoted(name)}, which {todo}")

    def _set_inside(self, setters: frozenset[int]) -> list[list[int]]:
        """Per region the variables that its earlier turns leave to the next one."""
        inside: list[list[int]] = [[] for _ in self.regions.found]
        for setter in setters:
            for region in self.regions.around(self.regions.home[setter]):
                if self.regions.found[region].kind == "each":
                    break
                inside[region].append(setter)
        return inside

    def _is_visible(self, setter: int, reader: int) -> bool:
        """Not across the border of a foreach outwards."""
        around = set(self.regions.around(self.regions.home[reader]))
        left = [each for each in self.regions.around(self.regions.home[setter]) if each not in around]
        return all(self.regions.found[each].kind != "each" for each in left)

    # Errors

    def _errors(self, findings: Findings) -> dict[int, list[int]]:
        """Whose failure may have led to a node: to catch and finally over one edge, to others that ask over many."""
        found: dict[int, list[int]] = {}
        asking = []
        for position, node in enumerate(self.graph.nodes):
            if node.type in CATCHING:
                if position in self.failing:
                    found[position] = sorted(self.failing[position], key=self.rank.__getitem__)
            elif self.references[position].error or "error" in self.wants[position]:
                asking.append(position)
        if not asking:
            return found
        sources = frozenset().union(*self.failing.values()) if self.failing else frozenset()
        before = self._ancestors(dict.fromkeys(asking, sources)) or {}
        for position in asking:
            if before.get(position):
                found[position] = before[position]
            elif self.references[position].error:
                place = self.graph.nodes[position].place
                findings.warn(place, "config reads error, which is always null here: no 'failed' edge leads to it")
        return found


def _name(node: RawNode) -> str | None:
    """Of the variable that it sets or gets; None where only the run tells."""
    name = node.config.get("variable_name")
    return name if isinstance(name, str) and not is_template(name) else None


def _unreadable(other: str, node: RawNode) -> str:
    if other == node.id:
        return "the node itself"
    return f"node {quoted(other)}, which does not surely run before it: draw a way from {quoted(other)} to it"
