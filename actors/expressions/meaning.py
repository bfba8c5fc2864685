"""From the tree of an expression to a function that gives its value: `value(Run)`.

Each node of the tree becomes a closure over those of its parts. What may be missing (a path, a key) has two: one that
gives MISSING, for has() and for what is compared with null, and one that takes it for an error or for null.
`a || true` is true and `a && false` is false even where `a` fails, whatever comes first: so it is in CEL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from dray.actors.expressions.bounds import left_over, too_large
from dray.actors.expressions.functions import FUNCTIONS
from dray.actors.expressions.operators import OPERATORS, negative, plus, quotient
from dray.actors.expressions.run import Run, step_into
from dray.actors.expressions.source import Path, SourceError, show
from dray.actors.expressions.tree import (
    Call,
    Choice,
    Has,
    Index,
    ListOf,
    Literal,
    Logic,
    Macro,
    MapOf,
    Member,
    Name,
    Row,
    Tree,
    Unary,
    Variable,
)  # fmt: skip  # isort: skip
from dray.actors.expressions.values import MISSING, Failed, wanted

Value: TypeAlias = "Callable[[Run], Any]"
_MADE = (Row, Call, Macro, Choice, ListOf, MapOf)  # what may give a value that was not there before
_SMALL = frozenset({int, float, bool, type(None)})


def compiled(tree: Tree) -> Value:
    """Raises SourceError for a call that cannot be."""
    return _COMPILED[type(tree)](tree)


def _literal(tree: Literal) -> Value:
    value = tree.value
    return lambda _: value


def _variable(tree: Variable) -> Value:
    slot = tree.slot
    return lambda run: run.values[slot]


def _has(tree: Has) -> Value:
    read = _tolerant(tree.what)
    return lambda run: read(run) is not MISSING


def _list_of(tree: ListOf) -> Value:
    parts = [(compiled(item), isinstance(item, _MADE)) for item in tree.items]

    def value(run: Run) -> list[Any]:
        found = []
        room = run.max_bytes
        for part, is_made in parts:
            item = part(run)
            if is_made and type(item) not in _SMALL:
                room = _left(run, item, room)
            found.append(item)
        return found

    return value


def _left(run: Run, value: Any, room: int) -> int:
    """What is left beside a value that was made here: what is only named is there anyway."""
    room = left_over(value, room)
    if room < 0:
        raise too_large(run.max_bytes)
    return room


# Paths and keys


def _tolerant(tree: Tree) -> Value:
    """Gives MISSING where the value is not there."""
    match tree:
        case Name() | Member():
            return _path(tree)
        case Index(base, what):
            inside, key = _tolerant(base), compiled(what)
            return lambda run: _at(inside(run), key(run))[0]
    return compiled(tree)


def _path(tree: Name | Member) -> Value:
    keys: list[str | int] = []
    base: Tree = tree
    while isinstance(base, Member):
        keys.append(base.key)
        base = base.base
    keys.reverse()
    if isinstance(base, Name):
        root = base.name
        if not keys:
            return lambda run: run.root(root)
        return lambda run: _walk(run.root(root), keys)
    inside = _tolerant(base)
    return lambda run: _walk(inside(run), keys)


def _walk(value: Any, keys: list[str | int]) -> Any:
    for key in keys:
        value = value.get(key, MISSING) if type(value) is dict else step_into(value, key)
        if value is MISSING:
            break
    return value


def _present(tree: Name | Member) -> Value:
    read = _path(tree)
    keys: list[str | int] = []
    base: Tree = tree
    while isinstance(base, Member):
        keys.insert(0, base.key)
        base = base.base
    path: Path | None = (base.name, *keys) if isinstance(base, Name) else None
    if isinstance(base, Name | Variable):
        why = f"{show((base.name, *keys))} is missing; correct the name or test it with has()"
    else:
        why = f"there is no key {keys[-1]!r}; test it with has() or size()"

    def value(run: Run) -> Any:
        found = read(run)
        return run.missing(why, path) if found is MISSING else found

    return value


def _index(tree: Index) -> Value:
    inside, key = compiled(tree.base), compiled(tree.what)

    def value(run: Run) -> Any:
        found, why = _at(inside(run), key(run))
        return run.missing(f"{why}; test it with has() or size()") if found is MISSING else found

    return value


def _at(value: Any, key: Any) -> tuple[Any, str]:
    """base[key], or MISSING and why."""
    if isinstance(value, list | tuple):
        if type(key) is float and key.is_integer():  # JSON does not tell 2.0 from 2
            key = int(key)
        if type(key) is not int:
            raise wanted("the index of a list is a whole number", key)
        return (value[key], "") if 0 <= key < len(value) else (MISSING, f"index out of bounds: {key}")
    if isinstance(value, Mapping):
        is_key = isinstance(key, str | int)
        return value.get(key, MISSING) if is_key else MISSING, f"there is no key {key!r:.80}"
    if value is None or value is MISSING:
        return MISSING, f"there is no key {key!r:.80} of null"
    raise wanted("x[y] looks into a list or a map", value)


# Operators


def _row(tree: Row) -> Value:
    if len(tree.rest) == 1:
        ((operator, operand),) = tree.rest
        return _two(operator, tree.first, operand)
    first = compiled(tree.first)
    rest = [(OPERATORS.get(operator), compiled(operand)) for operator, operand in tree.rest]

    def value(run: Run) -> Any:
        found = first(run)
        for operate, operand in rest:
            found = _sum(run, found, operand(run)) if operate is None else operate(found, operand(run))
        return found

    return value


def _two(operator: str, one: Tree, other: Tree) -> Value:
    if operator in ("==", "!="):
        left = _or_null(one) if other == Literal(None) else compiled(one)
        right = _or_null(other) if one == Literal(None) else compiled(other)
    else:
        left, right = compiled(one), compiled(other)
    if operator == "+":
        return lambda run: _sum(run, left(run), right(run))
    operate = OPERATORS[operator]
    if isinstance(other, Literal):
        literal = other.value
        return lambda run: operate(left(run), literal)
    return lambda run: operate(left(run), right(run))


def _or_null(tree: Tree) -> Value:
    """What is compared with null may be missing."""
    read = _tolerant(tree)

    def value(run: Run) -> Any:
        found = read(run)
        return None if found is MISSING else found

    return value


def _sum(run: Run, left: Any, right: Any) -> Any:
    if type(left) in (str, list, bytes) and type(left) is type(right):
        run.fits((len(left) + len(right)) * (8 if type(left) is list else 1))
    return plus(left, right)


def _unary(tree: Unary) -> Value:
    inside = compiled(tree.of)
    if tree.operator == "-":
        return lambda run: negative(inside(run))
    return lambda run: not _is_true(inside(run), "!x takes true or false")


def _is_true(value: Any, what: str) -> bool:
    if value is True or value is False:
        return bool(value)
    raise wanted(what, value)


def _logic(tree: Logic) -> Value:
    parts = [compiled(part) for part in tree.parts]
    decides = tree.operator == "||"
    what = f"x {tree.operator} y takes true or false"

    def value(run: Run) -> Any:
        failed: Failed | None = None
        for part in parts:
            try:
                if _is_true(part(run), what) is decides:
                    return decides
            except Failed as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return not decides

    return value


def _choice(tree: Choice) -> Value:
    cases = [(compiled(condition), compiled(value)) for condition, value in tree.cases]
    otherwise = compiled(tree.otherwise)

    def value(run: Run) -> Any:
        for condition, then in cases:
            if _is_true(condition(run), "x ? y : z takes true or false as x"):
                return then(run)
        return otherwise(run)

    return value


def _map_of(tree: MapOf) -> Value:
    parts = [(compiled(key), compiled(item), isinstance(item, _MADE)) for key, item in tree.items]

    def value(run: Run) -> dict[Any, Any]:
        found = {}
        room = run.max_bytes
        for key, part, is_made in parts:
            name = key(run)
            if isinstance(name, str):
                room -= len(name)
            elif not isinstance(name, int):
                raise wanted("the key of a map is a text", name)
            item = part(run)
            if is_made and type(item) not in _SMALL:
                room = _left(run, item, room)
            found[name] = item
        return found

    return value


# Calls and macros


def _call(tree: Call) -> Value:
    name, arguments = tree
    if name not in FUNCTIONS:  # told where it is stored; here it fails where it is called
        return lambda _: _no_function(name)
    least, most, function = FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        raise SourceError(f"{name}() takes {least} {'value' if least == 1 else 'values'}, not {len(arguments)}")
    if name == "int" and isinstance(arguments[0], Row) and arguments[0].rest[-1][0] == "/":
        *before, (_, last) = arguments[0].rest
        left, right = compiled(Row(arguments[0].first, tuple(before)) if before else arguments[0].first), compiled(last)
        return lambda run: quotient(left(run), right(run))
    parts = [compiled(each) for each in arguments]
    if name == "text":
        (inside,) = parts
        return lambda run: _text(run, inside(run), function)
    if len(parts) == 1:
        (inside,) = parts
        return lambda run: function(inside(run))
    return lambda run: function(*[part(run) for part in parts])


def _no_function(name: str) -> Any:
    raise Failed(f"there is no function {name}()")


def _text(run: Run, value: Any, as_text: Callable[[Any], str]) -> str:
    if left_over(value, run.max_bytes) < 0:
        raise too_large(run.max_bytes)
    return as_text(value)


def _macro(tree: Macro) -> Value:
    kind, over, slot, condition, body = tree
    inside, value = compiled(over), compiled(body)
    if kind == "map":
        return _mapping(inside, slot, None if condition is None else compiled(condition), value)

    decide = _DECIDE[kind]
    what = f"the condition of {kind}() is true or false"

    def each(run: Run) -> Iterator[tuple[Any, bool]]:
        for item in _items(kind, inside(run)):
            run.step()
            run.values[slot] = item
            yield item, _is_true(value(run), what)

    return lambda run: decide(each(run))


def _items(kind: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Mapping):
        return list(value)
    raise wanted(f"{kind}() goes over a list or the keys of a map", value)


def _mapping(inside: Value, slot: int, condition: Value | None, body: Value) -> Value:
    def value(run: Run) -> list[Any]:
        found = []
        values, room = run.values, run.max_bytes
        for item in _items("map", inside(run)):
            run.step()
            values[slot] = item
            if condition is None or _is_true(condition(run), "the condition of map() is true or false"):
                made = body(run)
                room = _left(run, made, room)
                found.append(made)
        return found

    return value


_DECIDE: dict[str, Callable[[Iterator[tuple[Any, bool]]], Any]] = {
    "filter": lambda each: [item for item, is_true in each if is_true],
    "exists_one": lambda each: sum(is_true for _, is_true in each) == 1,
    "exists": lambda each: any(is_true for _, is_true in each),
    "all": lambda each: all(is_true for _, is_true in each),
}

_COMPILED: dict[type, Callable[[Any], Value]] = {
    Literal: _literal,
    Variable: _variable,
    Name: _present,
    Member: _present,
    Index: _index,
    Has: _has,
    Call: _call,
    Macro: _macro,
    Unary: _unary,
    Row: _row,
    Logic: _logic,
    Choice: _choice,
    ListOf: _list_of,
    MapOf: _map_of,
}
