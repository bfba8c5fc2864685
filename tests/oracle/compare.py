"""Compares the engine with the page on one graph, in several executions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.oracle.case import Case, Difference, Refused, Skipped
from tests.oracle.drive import Drive
from tests.oracle.known import known
from tests.oracle.parts import Unclear


def compare(graph: dict[str, Any], seeds: Sequence[str], counts: Counter[str] | None = None) -> tuple[str, str] | None:
    """None where they agree, or one of them does not take the graph; else the seed and where they differ."""
    counts = Counter() if counts is None else counts
    try:
        case = Case(graph)
    except Difference as difference:
        counts["different"] += 1
        return seeds[0], str(difference)
    except Refused as why:
        counts["refused"] += 1
        counts[f"refused: {why}"[:200]] += 0
        return None
    except (Unclear, Skipped) as why:
        counts["unclear"] += 1
        counts[f"unclear: {why}"[:200]] += 0
        return None
    for seed in seeds:
        try:
            Drive(case, seed).run()
        except Difference as difference:
            if known(graph, str(difference)):
                counts["known"] += 1
                continue
            counts["different"] += 1
            return seed, str(difference)
        except (Unclear, Skipped) as why:
            counts["open"] += 1
            counts[f"open: {why}"[:200]] += 0
        else:
            counts["executions"] += 1
    counts["alike"] += 1
    return None
