"""What an expression is made of."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias


class Literal(NamedTuple):
    value: Any


class Name(NamedTuple):
    """One of the scope's."""

    name: str


class Variable(NamedTuple):
    """Of a macro. slot: macros are numbered through the whole expression."""

    name: str
    slot: int


class Member(NamedTuple):
    """base.key, base["key"], base[0]."""

    base: Tree
    key: str | int


class Index(NamedTuple):
    """base[what]: computed."""

    base: Tree
    what: Tree


class Call(NamedTuple):
    """f(a, b), and a.f(b), which is the same."""

    function: str
    arguments: tuple[Tree, ...]


class Has(NamedTuple):
    what: Tree


class Macro(NamedTuple):
    """over.kind(variable, body), of map also over.map(variable, condition, body)."""

    kind: str
    over: Tree
    slot: int
    condition: Tree | None
    body: Tree


class Unary(NamedTuple):
    operator: str
    of: Tree


class Row(NamedTuple):
    """first, then (operator, operand), from left to right: arithmetic, or relations."""

    first: Tree
    rest: tuple[tuple[str, Tree], ...]


class Logic(NamedTuple):
    """operator: && or ||."""

    operator: str
    parts: tuple[Tree, ...]


class Choice(NamedTuple):
    """(condition, value) one after another, and what else."""

    cases: tuple[tuple[Tree, Tree], ...]
    otherwise: Tree


class ListOf(NamedTuple):
    items: tuple[Tree, ...]


class MapOf(NamedTuple):
    items: tuple[tuple[Tree, Tree], ...]


Tree: TypeAlias = (
    Literal | Name | Variable | Member | Index | Call | Has | Macro | Unary | Row | Logic | Choice | ListOf | MapOf
)
