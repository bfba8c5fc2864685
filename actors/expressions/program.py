"""One compiled expression, and what it gives for a scope."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from dray.actors.errors import ExpressionError, NodeError
from dray.actors.expressions.bounds import Stopped, left_over, too_large
from dray.actors.expressions.meaning import compiled
from dray.actors.expressions.near import meant, read, why_null
from dray.actors.expressions.run import Run
from dray.actors.expressions.source import Path, SourceError, show
from dray.actors.expressions.syntax import parse
from dray.actors.expressions.tree import Member, Name
from dray.actors.expressions.values import MISSING, Failed, Missing, json_value, whole

Scope = Mapping[str, Any]
NO_NAMES: Mapping[str, Any] = MappingProxyType({})
_CACHED = 4_096  # texts; a program is a few KiB


class Program:
    """One compiled expression. Raises ExpressionError when made from a text that is none.

    paths: what it may read. functions: that it calls. growth: see Parsed.
    """

    __slots__ = ("_is_path", "_slots", "_value", "functions", "growth", "paths", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            parsed = parse(text)
            self._value = compiled(parsed.tree)
        except SourceError as error:
            raise ExpressionError(f"{short(text)} is not an expression: {error}") from None
        except RecursionError:
            raise ExpressionError(f"{short(text)} is not an expression: nested too deeply, split it") from None
        self.paths: tuple[Path, ...] = parsed.paths
        self.functions = parsed.functions
        self.growth = parsed.growth
        self._slots = parsed.slots
        self._is_path = isinstance(parsed.tree, Name | Member) and parsed.paths == (_plain(parsed.tree),)

    def evaluate(self, scope: Scope, names: Scope = NO_NAMES, *, strict: bool) -> Any:
        """The value, as JSON. names: known beside the scope's. A missing key is None, or if strict an ExpressionError
        that names it."""
        run = Run(scope, names, strict, self._slots)
        try:
            value = self._value(run)
            return value if self._is_path else _fitting(value, run.max_bytes)
        except Failed as error:
            raise self._failure(error, run) from None
        except Stopped as error:
            raise (NodeError if error.is_late else ExpressionError)(f"{short(self.text)} {error}") from None
        except RecursionError:
            raise ExpressionError(f"{short(self.text)}: a value is nested too deeply") from None
        except NodeError:
            raise
        except Exception as error:  # noqa: BLE001  # a date beyond the year 9999, or a handler's own classes
            raise self._failure(error, run) from None

    def _failure(self, error: Exception, run: Run) -> ExpressionError:
        if isinstance(error, Missing):
            return ExpressionError(f"{short(self.text)}: {error}{meant(run, error.path) if error.path else ''}")
        nulls = [show(path) + meant(run, path) for path in self.paths if read(run, path) in (None, MISSING)]
        hint = f" (null or missing: {', '.join(nulls)})" if nulls else ""
        return ExpressionError(f"{short(self.text)}: {str(error)[:400]}{hint}")

    def why_null(self, scope: Scope) -> str:
        """For a template that gave null: which of what it reads is, and what there is instead."""
        run = Run(scope, NO_NAMES, False, self._slots)
        return "; ".join(found for path in self.paths if (found := why_null(run, path)))


def _plain(tree: Name | Member) -> Path | None:
    keys: list[str | int] = []
    found: Any = tree
    while isinstance(found, Member):
        keys.insert(0, found.key)
        found = found.base
    return (found.name, *keys) if isinstance(found, Name) else None


def _fitting(value: Any, max_bytes: int) -> Any:
    """The value, as JSON and not too large."""
    kind = type(value)
    if value is None or kind is bool or (kind is float and math.isfinite(value)):
        return value
    if kind is int:
        return whole(value)
    odd: list[Any] = []
    if left_over(value, max_bytes, odd) < 0:
        raise too_large(max_bytes)
    return json_value(value) if odd else value


@lru_cache(_CACHED)
def compile_expression(text: str) -> Program:
    """The program of a translated expression, from a bounded cache. Raises ExpressionError."""
    return Program(text)


def evaluate(expression: str, scope: Scope, names: Scope = NO_NAMES, *, strict: bool = True) -> Any:
    """The JSON value of a bare expression. Raises ExpressionError; if strict, also for a missing key."""
    return compile_expression(expression).evaluate(scope, names, strict=strict)


def short(text: str) -> str:
    return f'"{text if len(text) <= 120 else text[:117] + "..."}"'
