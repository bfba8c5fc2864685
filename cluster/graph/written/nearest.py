"""What somebody probably meant who wrote a name that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from dray.cluster.graph.written.models import quoted

MAX_COMPARISONS = 20_000


class Nearest:
    """Finds the name that was probably meant.

    Comparing is slow, so one graph gets a budget: the first mistakes get a hint.
    """

    def __init__(self) -> None:
        self._budget = MAX_COMPARISONS
        self._known: dict[tuple[str, str], str] = {}

    def hint(self, name: str, names: Collection[str], of: str = "") -> str:
        """` (did you mean 'x'?)`, or nothing. of: whose names they are, where not everybody has the same."""
        if (of, name) not in self._known:
            self._known[of, name] = self._find(name, names)
        return self._known[of, name]

    def _find(self, name: str, names: Collection[str]) -> str:
        if len(name) > 64 or len(names) > self._budget:
            return ""
        self._budget -= len(names)
        short = [each for each in names if len(each) <= 64]
        lower = {each.lower(): each for each in reversed(short)}
        match = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
        return f" (did you mean {quoted(lower[match[0]])}?)" if match else ""
