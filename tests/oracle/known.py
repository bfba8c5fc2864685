"""Where the engine is known to differ from the page, with the reason: left out of the comparison while it is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Graph = dict[str, Any]


def _merge_behind_a_fork(graph: Graph, difference: str) -> bool:
    """A merge behind any or n_of_m takes what ran, where the page says what arrived; others have its order too."""
    return " merges " in difference and any(
        each.get("parallel_wait_mode") in ("any", "n_of_m") for each in graph["nodes"]
    )


KNOWN: list[Callable[[Graph, str], bool]] = [_merge_behind_a_fork]


def known(graph: Graph, difference: str) -> bool:
    return any(each(graph, difference) for each in KNOWN)
