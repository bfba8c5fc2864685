"""Expressions: CEL in `{{ }}` inside the strings of a config, and bare in the fields marked for it.

A workflow is stored   prepare(config, model, node_ids): translate, compile, say what is wrong and what is referenced
A runner gets a node   compile_config(config, model): once per node of a workflow version
A node is to run       CompiledConfig.render(scope): fill in the templates; bare fields are left for the handler
A handler asks         evaluate(expression, scope), by way of NodeContext.evaluate

Names: input, nodes.<id>.output, vars, execution, error (the failure that led to this node: type, message, node; null
where none did); in bare fields also those that the handler gives (item, index, acc); in a loop its aliases.
A missing key, or a key of null, is null in a template; in a bare expression it is an error that names it: a condition
on a misspelt name must not quietly be false. `has(input.a.b)` is false if any part of the path is missing.

Numbers: CEL does not mix whole numbers and doubles (`1.5 * 2` is an error), but JSON does: the same field is 2 in one
row and 2.5 in the next. So an expression that fails on its types is evaluated once more with all numbers as doubles.
What succeeds at first is plain CEL: `7 / 2` is 3, `7.0 / 2` is 3.5, and whole numbers of 64 bits are exact. The
second time a computed index (`rows[input.i]`) is a double too and fails; the error is then the first one.

An expression ends, has no effect and reaches nothing but its names; it cannot be interrupted while it runs.
"""

from __future__ import annotations

import datetime
import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

import cel
from pydantic import BaseModel

from actors.cel_source import Code, Path, SourceError, hoist, show, split, translate, with_aliases, with_doubles
from actors.config_shape import BareExpression, Expression, HoldsSecrets, Raw, Shape
from actors.errors import ExpressionError

__all__ = [
    "BareExpression", "CompiledConfig", "Expression", "HoldsSecrets", "Prepared", "Raw", "References", "as_text",
    "compile_config", "evaluate", "is_template", "prepare", "render",
]  # fmt: skip

Scope = Mapping[str, Any]
ROOTS = ("input", "nodes", "vars", "execution", "error")
SECRETS = "secrets"  # in fields marked HoldsSecrets only
FUNCTIONS = frozenset(
    "size contains startsWith endsWith matches type dyn string int uint double bytes timestamp duration getFullYear "
    "getMonth getDayOfYear getDayOfMonth getDate getDayOfWeek getHours getMinutes getSeconds getMilliseconds "
    "of none ofNonZeroValue value hasValue or orValue".split()
)
NO_ALIASES: Mapping[str, str] = MappingProxyType({})
_MISSING = object()
_CACHED = 4_096  # texts; a program is a few KiB


class References(NamedTuple):
    """Which values a config can touch. nodes: ids; all ids where an id is computed."""

    input: bool
    vars: bool
    nodes: frozenset[str]
    error: bool = False


class Prepared(NamedTuple):
    """config: translated, the canonical one. problems: (path in the config, message)."""

    config: dict[str, Any]
    references: References
    problems: list[tuple[str, str]]


# Evaluating


class Program:
    """One compiled expression. Raises ExpressionError when made from a text that is no CEL."""

    __slots__ = ("_hoisted", "_program", "_with_doubles", "functions", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.functions = frozenset(cel.compile(text).functions())  # first as written: its errors quote the text
            self._hoisted = hoist(text)
            self._program = cel.compile(self._hoisted.text)
        except ValueError as error:
            raise ExpressionError(f"{_short(text)} is not an expression: {_syntax(error)}") from None
        self._with_doubles: cel.Program | None = None

    @property
    def paths(self) -> list[Path]:
        """What it may read, a name that is also a macro's variable included."""
        return [slot.path for slot in self._hoisted.slots] + [
            (n,) for n in self._hoisted.free if n in (*ROOTS, SECRETS)
        ]

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
        known = {k: v for k, v in values.items() if v is not _MISSING or not strict}
        return _json(self._execute({k: None if v is _MISSING else v for k, v in known.items()}, strict), self.text)

    def _execute(self, values: dict[str, Any], strict: bool) -> Any:
        try:
            return self._program.execute(values)
        except TypeError as error:
            try:
                return self._doubles().execute(_doubled(values))
            except Exception:  # noqa: BLE001  # whatever goes wrong the second time, the first error is the true one
                raise self._failure(error, values) from None
        except LookupError as error:
            if not strict:
                return None
            reason = f"there is no key {error}" if isinstance(error, KeyError) else error
            raise ExpressionError(f"{_short(self.text)}: {reason}; test it with has() or size()") from None
        except Exception as error:  # noqa: BLE001  # the bindings raise Runtime-, Overflow-, ZeroDivisionError and others
            raise self._failure(error, values) from None

    def _doubles(self) -> cel.Program:
        if self._with_doubles is None:
            self._with_doubles = cel.compile(with_doubles(self._hoisted.text))
        return self._with_doubles

    def _missing(self, path: Path) -> ExpressionError:
        return ExpressionError(f"{_short(self.text)}: {show(path)} is missing; correct the name or test it with has()")

    def _failure(self, error: Exception, values: Mapping[str, Any]) -> ExpressionError:
        reason = str(error).split("\n", 1)[0]
        for slot in self._hoisted.slots:
            if slot.name not in values and f"'{slot.name}'" in reason:
                return self._missing(slot.path)
        nulls = [show(slot.path) for slot in self._hoisted.slots if values.get(slot.name, "") is None]
        hint = f" ({', '.join(nulls)} is null or missing)" if nulls else ""
        return ExpressionError(f"{_short(self.text)}: {reason[:300]}{hint}")


@lru_cache(_CACHED)
def compile_expression(text: str) -> Program:
    """The program of a translated expression, from a bounded cache. Raises ExpressionError."""
    return Program(text)


def evaluate(expression: str, scope: Scope) -> Any:
    """The JSON value of a bare expression. Raises ExpressionError, also for a missing key."""
    return compile_expression(expression).evaluate(scope, strict=True)


def as_text(value: Any) -> str:
    """How a value is put into a text: strings as they are, null as nothing, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _read(scope: Scope, path: Path, has: bool) -> Any:
    value: Any = scope
    for part in path:
        if isinstance(part, str):
            value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
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
    raise ExpressionError(f"{_short(text)} gives {kind or type(value).__name__}, which JSON cannot hold: convert it")


def _syntax(error: Exception) -> str:
    found = re.search(r"<input>:(\d+):(\d+): (?:Syntax error: )?(.*?)(?: expecting \{.*)?$", str(error), re.MULTILINE)
    if isinstance(error, SourceError) or found is None:
        return str(error).split("\n", 1)[0][:300]
    return f"{found[3][:200]} (line {found[1]}, column {found[2]})"


def _short(text: str) -> str:
    return f'"{text if len(text) <= 120 else text[:117] + "..."}"'


# Rendering


class CompiledConfig:
    """A canonical config, ready to be rendered for one execution after another.

    is_static: nothing depends on the scope; render() gives the same dict each time, to be validated once.
    Parts without templates are shared between the results: handlers must not change their config.
    """

    __slots__ = ("_config", "_render", "is_static")

    def __init__(self, config: dict[str, Any], model: type[BaseModel] | None = None) -> None:
        self._config = config
        self._render = _renderer(config, Shape(model=model))
        self.is_static = self._render is None

    def render(self, scope: Scope) -> dict[str, Any]:
        """The config with its templates filled in. Raises ExpressionError."""
        if self._render is None:
            return self._config
        rendered: dict[str, Any] = self._render(scope)
        return rendered


def compile_config(config: dict[str, Any], model: type[BaseModel] | None = None) -> CompiledConfig:
    """Compile a config as prepare() left it. Raises ExpressionError."""
    return CompiledConfig(config, model)


def render(config: dict[str, Any], scope: Scope, model: type[BaseModel] | None = None) -> dict[str, Any]:
    """compile_config() and render() in one, for a config that is used once."""
    return CompiledConfig(config, model).render(scope)


def is_template(text: str) -> bool:
    """Whether a string of a config is filled in (unless its field is raw or bare)."""
    return "{{" in text


def _renderer(value: Any, shape: Shape) -> Callable[[Scope], Any] | None:
    """The function that fills in `value`; None if nothing in it changes."""
    if isinstance(value, str) and shape.is_template and is_template(value):
        return _text_renderer(value)
    if isinstance(value, dict):
        changing = {k: r for k, v in value.items() if (r := _renderer(v, shape.child(k)))}
        return (lambda scope: value | {k: r(scope) for k, r in changing.items()}) if changing else None
    if isinstance(value, list):
        parts = [_renderer(v, shape.child(None)) for v in value]
        if any(parts):
            return lambda scope: [r(scope) if r else v for v, r in zip(value, parts, strict=True)]
    return None


def _text_renderer(text: str) -> Callable[[Scope], Any]:
    try:
        parts = split(text)
    except SourceError as error:
        raise ExpressionError(f"{_short(text)}: {error}") from None
    pieces = [compile_expression(part.text) if isinstance(part, Code) else part for part in parts]
    if len(pieces) == 1 and isinstance(only := pieces[0], Program):
        return lambda scope: only.evaluate(scope, strict=False)
    return lambda scope: "".join(
        piece if isinstance(piece, str) else as_text(piece.evaluate(scope, strict=False)) for piece in pieces
    )


# Storing


def prepare(
    config: dict[str, Any],
    model: type[BaseModel] | None,
    node_ids: Collection[str],
    aliases: Mapping[str, str] = NO_ALIASES,
) -> Prepared:
    """Translate and check every template and bare expression of a config; finds all problems, raises nothing.

    node_ids: of the whole graph; pass a set. Raw fields, and fields that the model ignores, are left as they are.
    aliases: root name -> the path that it stands for, such as {"item": "nodes.each.output.item"} in a loop's body. The
    names above, and those of a bare field itself, are no aliases, whatever this says.
    """
    preparing = _Preparing(node_ids, aliases)
    translated = preparing.value(config, Shape(model=model), "")
    paths = preparing.paths
    computed = any(path == ("nodes",) for path in paths)
    nodes = node_ids if computed else [str(p[1]) for p in paths if p[0] == "nodes" and p[1] in node_ids]
    roots = {path[0] for path in paths}
    references = References("input" in roots, "vars" in roots, frozenset(nodes), "error" in roots)
    return Prepared(translated, references, preparing.problems)


class _Preparing:
    """One walk through a config."""

    def __init__(self, node_ids: Collection[str], aliases: Mapping[str, str]) -> None:
        self.node_ids = node_ids
        self.aliases = {k: translate(v, node_ids) for k, v in aliases.items() if k not in ROOTS}
        self.paths: set[Path] = set()
        self.problems: list[tuple[str, str]] = []

    def value(self, value: Any, shape: Shape, place: str) -> Any:
        if isinstance(value, dict):
            return {k: self.value(v, shape.child(k), f"{place}.{k}" if place else str(k)) for k, v in value.items()}
        if isinstance(value, list):
            return [self.value(v, shape.child(None), f"{place}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, str) and isinstance(shape.marker, BareExpression):
            return self.expression(value, place, shape.marker.names)
        return self.template(value, place, shape) if isinstance(value, str) and shape.is_template else value

    def template(self, text: str, place: str, shape: Shape) -> str:
        if not is_template(text):
            return text
        try:
            parts = split(text)
        except SourceError as error:
            self.problems.append((place, str(error)))
            return text
        return "".join(
            f"{{{{ {self.expression(part.text, place, (), shape.holds_secrets)} }}}}"
            if isinstance(part, Code)
            else part
            for part in parts
        )

    def expression(self, text: str, place: str, names: Sequence[str] = (), with_secrets: bool = False) -> str:
        if not text.strip():
            self.problems.append((place, "the expression is empty"))
            return text
        try:
            translated = with_aliases(translate(text, self.node_ids, names), self.aliases_beside(names))
            program = compile_expression(translated)
        except (SourceError, ExpressionError) as error:
            self.problems.append((place, str(error)))
            return text
        unknown = {name for name in program.functions if name[0].isalpha()} - FUNCTIONS
        self.problems += [(place, f"there is no function {name}()") for name in sorted(unknown)]
        for path in program.paths:
            if path[0] == SECRETS and SECRETS not in names:
                self.check_secret(path, place, with_secrets)
            else:
                self.check(path, place, names)
        self.paths.update(program.paths)
        return translated

    def aliases_beside(self, names: Sequence[str]) -> dict[str, str]:
        return {name: path for name, path in self.aliases.items() if name not in names} if names else self.aliases

    def check(self, path: Path, place: str, names: Sequence[str]) -> None:
        root = str(path[0])
        if root == "nodes" and len(path) > 1 and path[1] not in self.node_ids:
            self.problems.append((place, f"there is no node {path[1]!r}{self.near(str(path[1]))}"))
        elif root not in ROOTS and root not in names:
            node_id = next((n for n in (root, root.removesuffix("_output")) if n in self.node_ids), None)
            hint = f"nodes.{node_id}.output" if node_id else f"input.{root}"
            known = ", ".join((*ROOTS, *dict.fromkeys((*names, *self.aliases))))
            self.problems.append((place, f"unknown name {root!r} (known are {known}); did you mean {hint}?"))

    def check_secret(self, path: Path, place: str, allowed: bool) -> None:
        if not allowed:
            self.problems.append((place, "a secret may not be named here: what this field holds is stored or logged"))
        elif len(path) != 2 or not isinstance(path[1], str):
            self.problems.append((place, f"name one secret: {SECRETS}.NAME, not {show(path)}"))

    def near(self, node_id: str) -> str:
        found = difflib.get_close_matches(node_id, list(islice(self.node_ids, 2_000)), n=3)
        return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""
