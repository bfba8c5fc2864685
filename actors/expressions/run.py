"""One evaluation: the values that it reaches, and what it has cost so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dray.actors.expressions import bounds
from dray.actors.expressions.bounds import LOOK, Stopped, limits, too_large
from dray.actors.expressions.source import Path
from dray.actors.expressions.values import MISSING, Missing


class Run:
    """One evaluation. names: those of the field, before the scope's. values: of variables."""

    __slots__ = ("is_strict", "max_bytes", "names", "scope", "should_stop", "steps", "values")

    def __init__(self, scope: Mapping[str, Any], names: Mapping[str, Any], is_strict: bool, slots: int) -> None:
        self.scope = scope
        self.names = names
        self.is_strict = is_strict
        self.values: list[Any] = [None] * slots
        self.steps = 0
        self.should_stop, self.max_bytes = limits.get()

    def root(self, name: str) -> Any:
        if name in self.names:
            return self.names[name]
        try:
            return self.scope[name]
        except KeyError:
            return MISSING

    def step(self) -> None:
        self.steps += 1
        if self.steps & (LOOK - 1) == 0:
            self.look()

    def look(self) -> None:
        if self.steps > bounds.MAX_STEPS:
            raise Stopped(
                f"looks at more than {bounds.MAX_STEPS:,} items: use map, filter or code nodes, or a shorter list"
            )
        if self.should_stop is not None and self.should_stop():
            raise Stopped(
                "stopped: cancelled, or out of time; raise the node's timeout or give it a shorter list", True
            )

    def missing(self, why: str, path: Path | None = None) -> Any:
        if self.is_strict:
            raise Missing(why, path)
        return None

    def fits(self, size: int) -> None:
        if size > self.max_bytes:
            raise too_large(self.max_bytes)


def step_into(value: Any, key: str | int) -> Any:
    """One step of a path; MISSING where there is nothing."""
    if isinstance(value, Mapping):
        return value.get(key, MISSING)
    if isinstance(value, list | tuple):
        if type(key) is int:
            return value[key] if key < len(value) else MISSING
        return len(value) if key == "length" else MISSING  # as in JavaScript
    return len(value) if key == "length" and isinstance(value, str) else MISSING
