"""Where the engine is known to differ from the page, with the reason: left out of the comparison while it is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Graph = dict[str, Any]


def _forks(graph: Graph) -> list[Graph]:
    return [each for each in graph["nodes"] if each.get("parallel_wait_mode") in ("any", "n_of_m")]


def _failed_past_the_meet(graph: Graph, difference: str) -> bool:
    """A fork with a failed edge past the node where its branches meet does not cancel the others."""
    forks = {each["id"] for each in _forks(graph)}
    return difference.startswith("engine runs") and any(
        edge["from"] in forks and edge.get("branch") == "failed" for edge in graph["edges"]
    )


def _merge_behind_a_fork(graph: Graph, difference: str) -> bool:
    """Behind any and n_of_m what a merge puts together is not in the order of the edges."""
    return bool(_forks(graph)) and " merges " in difference


def _error_behind_a_finally(graph: Graph, difference: str) -> bool:
    """Behind a finally the error is seen that led to its catch, though no edge between the two was taken."""
    kinds = {each["type"] for each in graph["nodes"]}
    return "reads" in difference and "error." in difference and {"catch", "finally"} <= kinds


KNOWN: list[Callable[[Graph, str], bool]] = [
    _failed_past_the_meet,
    _merge_behind_a_fork,
    _error_behind_a_finally,
]


def known(graph: Graph, difference: str) -> bool:
    return any(each(graph, difference) for each in KNOWN)
