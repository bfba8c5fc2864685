"""The graph of one workflow version: what is stored (`canonical`) and what executions share in memory (`load`).

canonical() is for the moment a workflow is registered: it takes what a user wrote, in any shape, and refuses with all
problems at once or gives the one JSON form that is stored. load() is for the driver: it trusts the stored form, checks
nothing again and gives a Graph that thousands of executions share, so nothing in a Graph ever changes.

    {"format": 1, "entry": id | null, "timeout"?: seconds, "limits"?: {...} (graph_limits),
     "schedule"?: {...} (graph_schedule), "warnings": [text],
     "nodes": [{"id", "type", "config", "name"?, "max_retries"?, "timeout"?, "at_most_once"?, ...platform keys,
                "resources"?: {...} (graph_resources),
                "needs": {"input": bool, "nodes": [id], "vars": [id], "inputs": [id], "error"?: [id]}}],
     "edges": [{"from": id, "to": id, "label": text | null, "role"?: "body" | "back"}],
     "regions"?: [{"header": id, "kind": "each" | "for" | "while" | "cycle", "parent": index | null, "nodes": [id]}],
     "added"?: [{"from": id, "to": id, "label": text | null, "role": "catch" | "pass" | "order"}],
     "forks"?: [{"fork": id, "joins": [{"join": id, "branches": [[id]]}], "wait": n, "nodes": [id]}]}

needs says what a node must be given: the execution's input, the outputs that its config names, the set_variable nodes
before it (in topological order), its direct predecessors, and nodes whose failure may have led to it. Pure: no I/O.
"""

from __future__ import annotations

from typing import Any

from cluster.errors import GraphInvalid, Problem
from cluster.graph_canonical import FORMAT, canonical
from cluster.graph_load import Builder
from cluster.graph_types import Graph

__all__ = ["canonical", "load"]


def load(workflow_id: int, name: str, version: int, stored: dict[str, Any]) -> Graph:
    """The Graph of a stored canonical form. Raises GraphInvalid if what is stored cannot have come from canonical()."""
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        place = f"workflow {name!r} version {version}"
        found = stored.get("format") if isinstance(stored, dict) else None
        message = (
            f"is stored in format {found!r}, this Dray reads format {FORMAT}: use the Dray that stored it, or newer"
        )
        raise GraphInvalid([Problem(place, message)])
    try:
        return Builder(workflow_id, stored).graph(name, version)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        trouble = f"the stored graph is damaged ({type(error).__name__}: {error}): register the workflow again"
        raise GraphInvalid([Problem(f"workflow {name!r} version {version}", trouble)]) from error
