"""What came for executions, sorted by execution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from dray.cluster.execution.commands import News
from dray.store.records import ChildEnd, Signal


def by_execution(signals: Iterable[Signal], children: Iterable[ChildEnd]) -> dict[str, News]:
    """Execution id -> its news."""
    signals_of: defaultdict[str, list[Signal]] = defaultdict(list)
    children_of: defaultdict[str, list[ChildEnd]] = defaultdict(list)
    for signal in signals:
        signals_of[signal.execution_id].append(signal)
    for child in children:
        children_of[child.parent_id].append(child)
    ids = {**signals_of, **children_of}
    return {each: News(signals_of.get(each, ()), children_of.get(each, ())) for each in ids}
