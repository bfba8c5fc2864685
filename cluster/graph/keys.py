"""How long the keys of a graph's nodes get. A key is part of an index of Postgres, which holds some 2,700 bytes."""

from __future__ import annotations

from dray.cluster.graph.regions import Regions
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.source import Findings, RawGraph

MAX_KEY = 2_000  # bytes
_TURN = len("[0000000000]/")  # more turns than any loop has


def check_keys(graph: RawGraph, regions: Regions, findings: Findings) -> None:
    """A node's key is its id behind those of all loops around it, each with a turn."""
    for position, node in enumerate(graph.nodes):
        around = [graph.nodes[regions.found[each].header].id for each in regions.around(regions.home[position])]
        size = len(node.id.encode()) + sum(len(each.encode()) + _TURN for each in around) + _TURN
        if size > MAX_KEY:
            where = f" in the loops {', '.join(quoted(each[:40]) for each in reversed(around))}" if around else ""
            message = f"its key{where} takes {size} bytes, and {MAX_KEY} are the most: give shorter ids"
            findings.problem(node.place, message)
