"""One compiled expression, and what it gives for a scope.

Numbers: CEL does not mix whole numbers and doubles (`1.5 * 2` is an error), but JSON does: the same field is 2 in one
row and 2.5 in the next. So an expression that fails on its types is evaluated once more with all numbers as doubles.
What succeeds at first is plain CEL: `7 / 2` is 3, `7.0 / 2` is 3.5, and whole numbers of 64 bits are exact. The
second time a computed index (`rows[input.i]`) is a double too and fails; the error is then the first one.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import cel

from dray.actors.errors import ExpressionError, NodeError
from dray.actors.expressions.bounds import GO_ON, Steps, with_steps
from dray.actors.expressions.source import Path, SourceError, hoist, show, with_doubles

Scope = Mapping[str, Any]
TEXT = "text"
_MISSING = object()
_CACHED = 4_096  # texts; a program is a few KiB


class Program:
    """One compiled expression. Raises ExpressionError when made from a text that is no CEL."""

    __slots__ = ("_bounded", "_extra", "_hoisted", "_program", "_with_doubles", "functions", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.functions = frozenset(cel.compile(text).functions())  # first as written: its errors quote the text
            self._hoisted = hoist(text)
            self._bounded = with_steps(self._hoisted.text)
            self._program = cel.compile(self._bounded)
        except ValueError as error:
            raise ExpressionError(f"{short(text)} is not an expression: {_syntax(error)}") from None
        self._extra: dict[str, Callable[..., Any]] = {TEXT: as_text} if TEXT in self.functions else {}
        self._with_doubles: cel.Program | None = None

    @property
    def paths(self) -> list[Path]:
        """What it may read, a name that is also a macro's variable included."""
        return [slot.path for slot in self._hoisted.slots] + [(name,) for name in self._hoisted.free]

    def evaluate(self, scope: Scope, *, strict: bool) -> Any:
        """The value, as JSON. A missing key is None, or if strict an ExpressionError that names it."""
        text, slots, free = self._hoisted
        if len(slots) == 1 and slots[0].name == text:  # nothing but a path: CEL is not needed
            value = _read(scope, slots[0].path, slots[0].has)
            if value is _MISSING and strict:
                raise self._missing(slots[0].path)
            return None if value is _MISSING else value
        values = {slot.name: _read(scope, slot.path, slot.has) for slot in slots}
        values |= {name: scope[name] for name in free if name in scope}
        # Strict: leave a missing value undefined, so that CEL fails when it gets to it and not in `has(x) && x > 1`.
        undefined = {slot.name for slot in slots if not slot.or_null} if strict else set()
        known = {k: v for k, v in values.items() if v is not _MISSING or k not in undefined}
        return _json(self._execute({k: None if v is _MISSING else v for k, v in known.items()}, strict), self.text)

    def _execute(self, values: dict[str, Any], strict: bool) -> Any:
        try:
            return self._run(self._program, values)
        except NodeError:
            raise
        except TypeError as error:
            try:
                return self._run(self._doubles(), _doubled(values))
            except NodeError:
                raise
            except Exception:  # noqa: BLE001  # whatever goes wrong the second time, the first error is the true one
                raise self._failure(error, values) from None
        except LookupError as error:
            if not strict:
                return None
            reason = f"there is no key {error}" if isinstance(error, KeyError) else error
            raise ExpressionError(f"{short(self.text)}: {reason}; test it with has() or size()") from None
        except Exception as error:  # noqa: BLE001  # the bindings raise Runtime-, Overflow-, ZeroDivisionError and others
            raise self._failure(error, values) from None

    def _run(self, program: cel.Program, values: dict[str, Any]) -> Any:
        """Raises what CEL raises, or a NodeError where it was stopped: then it is no matter how CEL ended."""
        if self._bounded is self._hoisted.text and not self._extra:
            return program.execute(values)
        steps = Steps()
        try:
            return program.execute(cel.Context(values, {**self._extra, GO_ON: steps}))
        finally:
            if steps.why is not None:
                kind = NodeError if steps.is_late else ExpressionError
                raise kind(f"{short(self.text)}: {steps.why}")

    def _doubles(self) -> cel.Program:
        if self._with_doubles is None:
            self._with_doubles = cel.compile(with_doubles(self._bounded))
        return self._with_doubles

    def _missing(self, path: Path) -> ExpressionError:
        return ExpressionError(f"{short(self.text)}: {show(path)} is missing; correct the name or test it with has()")

    def _failure(self, error: Exception, values: Mapping[str, Any]) -> ExpressionError:
        reason = str(error).split("\n", 1)[0]
        for slot in self._hoisted.slots:
            if slot.name not in values and f"'{slot.name}'" in reason:
                return self._missing(slot.path)
        nulls = [show(slot.path) for slot in self._hoisted.slots if values.get(slot.name, "") is None]
        hint = f" ({', '.join(nulls)} is null or missing)" if nulls else ""
        return ExpressionError(f"{short(self.text)}: {reason[:300]}{hint}")


@lru_cache(_CACHED)
def compile_expression(text: str) -> Program:
    """The program of a translated expression, from a bounded cache. Raises ExpressionError."""
    return Program(text)


def evaluate(expression: str, scope: Scope, *, strict: bool = True) -> Any:
    """The JSON value of a bare expression. Raises ExpressionError; if strict, also for a missing key."""
    return compile_expression(expression).evaluate(scope, strict=strict)


def as_text(value: Any) -> str:
    """How a value is put into a text: strings as they are, null as nothing, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _read(scope: Scope, path: Path, has: bool) -> Any:
    value: Any = scope
    for part in path:
        if isinstance(part, str):
            if isinstance(value, Mapping):
                value = value.get(part, _MISSING)
            else:  # `length`, as in JavaScript
                value = len(value) if part == "length" and isinstance(value, list | str) else _MISSING
        else:
            value = value[part] if isinstance(value, list) and part < len(value) else _MISSING
        if value is _MISSING:
            break
    return value is not _MISSING if has else value


def _doubled(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dict):
        return {key: _doubled(item) for key, item in value.items()}
    return [_doubled(item) for item in value] if isinstance(value, list) else value


def _json(value: Any, text: str) -> Any:
    """What CEL gave, as JSON: a timestamp as RFC 3339, a duration as seconds with an "s", an optional as its value."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case list():
            return [_json(item, text) for item in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _json(item, text) for key, item in value.items()}
        case datetime.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case datetime.timedelta():
            return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
        case cel.OptionalValue():
            return _json(value.value(), text) if value.has_value() else None
    kind = {float: f"the number {value}", dict: "a map with keys that are no strings"}.get(type(value))
    raise ExpressionError(f"{short(text)} gives {kind or type(value).__name__}, which JSON cannot hold: convert it")


def _syntax(error: Exception) -> str:
    found = re.search(r"<input>:(\d+):(\d+): (?:Syntax error: )?(.*?)(?: expecting \{.*)?$", str(error), re.MULTILINE)
    if isinstance(error, SourceError) or found is None:
        return str(error).split("\n", 1)[0][:300]
    return f"{found[3][:200]} (line {found[1]}, column {found[2]})"


def short(text: str) -> str:
    return f'"{text if len(text) <= 120 else text[:117] + "..."}"'
