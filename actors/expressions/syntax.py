"""From the text of an expression to its tree. The grammar is CEL's; nothing is known here of what a function does.

    condition  a ? b : c          sum, product  a + b - c, a * b / c % d
    any, every a || b, a && b     unary         !a, -a
    relation   a < b, a in b      member        a.b, a["b"], a[0], a.f(b), a.map(x, ..)

Long rows of one kind (`a + b + c ...`, `a ? .. : b ? .. : ..`) are one node, so only brackets make a tree deep.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from itertools import groupby
from typing import NamedTuple

from dray.actors.expressions.source import LITERALS, MACROS, MAX_LENGTH, TYPES, Path, SourceError, Token, tokens
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
)

MAX_DEPTH = 60  # brackets in brackets; each costs twelve of the thousand frames that Python has
_RELATIONS = frozenset({"<", "<=", ">", ">=", "==", "!=", "in"})
_ESCAPE = re.compile(r"\\(?:[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {c: c for c in "\\'\"`?"}


class Parsed(NamedTuple):
    """paths: that it reads. functions: that it calls. slots: of variables.

    growth: how many times its maps may put one value into their result, together.
    """

    tree: Tree
    paths: tuple[Path, ...]
    functions: frozenset[str]
    slots: int
    growth: int


def parse(text: str) -> Parsed:
    """Raises SourceError, with line and column."""
    if len(text) > MAX_LENGTH:
        raise SourceError(f"an expression may have {MAX_LENGTH} characters, this one has {len(text)}: split it")
    parser = _Parser(text)
    tree = parser.whole()
    return Parsed(tree, tuple(dict.fromkeys(parser.paths)), frozenset(parser.functions), parser.slots, parser.growth)


class _Parser:
    def __init__(self, text: str) -> None:
        self.source = text
        self.tokens: list[Token] = [*tokens(text), Token("end", "", len(text))]
        self.position = 0
        self.depth = 0
        self.paths: list[Path] = []
        self.functions: set[str] = set()
        self.bound: dict[str, list[int]] = {}  # variable -> slots of the macros around, the innermost last
        self.uses: list[int] = []  # of each slot
        self.growth = 1

    @property
    def slots(self) -> int:
        return len(self.uses)

    @property
    def text(self) -> str:
        return self.tokens[self.position].text

    def whole(self) -> Tree:
        tree = self.expression()
        if self.tokens[self.position].kind != "end":
            raise self.unexpected()
        return tree

    def unexpected(self, wanted: str = "") -> SourceError:
        kind, text, start = self.tokens[self.position]
        line, column = self.source.count("\n", 0, start) + 1, start - self.source.rfind("\n", 0, start)
        found = "it ends too early" if kind == "end" else f"{text[:40]!r} is not expected here"
        return SourceError(f"{found}{wanted} (line {line}, column {column})")

    def take(self, text: str) -> bool:
        if self.text == text and self.tokens[self.position].kind != "string":
            self.position += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise self.unexpected(f": {text} is missing")

    # From the loosest to the tightest

    def expression(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise SourceError(f"it is nested too deeply, at most {MAX_DEPTH} brackets in brackets: split it")
        cases: list[tuple[Tree, Tree]] = []
        tree = self.logic("||")
        while self.take("?"):
            value = self.expression()
            self.expect(":")
            cases.append((tree, value))
            tree = self.logic("||")
        self.depth -= 1
        return Choice(tuple(cases), tree) if cases else tree

    def logic(self, operator: str) -> Tree:
        parts = [self.logic("&&") if operator == "||" else self.relation()]
        while self.take(operator):
            parts.append(self.logic("&&") if operator == "||" else self.relation())
        return parts[0] if len(parts) == 1 else Logic(operator, tuple(parts))

    def relation(self) -> Tree:
        return self.row(_RELATIONS, self.sum)

    def sum(self) -> Tree:
        return self.row(("+", "-"), self.product)

    def product(self) -> Tree:
        return self.row(("*", "/", "%"), self.unary)

    def row(self, operators: Collection[str], operand: Callable[[], Tree]) -> Tree:
        first = operand()
        rest = []
        while self.text in operators and self.tokens[self.position].kind != "string":
            operator = self.text
            self.position += 1
            rest.append((operator, operand()))
        return Row(first, tuple(rest)) if rest else first

    def unary(self) -> Tree:
        operators = []
        while self.text in ("!", "-") and self.tokens[self.position].kind == "op":
            operators.append(self.text)
            self.position += 1
        tree = self.members()
        for operator, group in groupby(reversed(operators)):
            for _ in range(2 - len(list(group)) % 2):  # of three, one is left; of four, two: they see what it is
                is_number = operator == "-" and isinstance(tree, Literal) and type(tree.value) in (int, float)
                tree = Literal(-tree.value) if is_number and isinstance(tree, Literal) else Unary(operator, tree)
        return tree

    def members(self) -> Tree:
        """A value and what follows it. A path that begins with a name of the scope is noted, as far as it is plain."""
        tree = self.primary()
        path: list[str | int] | None = [tree.name] if isinstance(tree, Name) else None
        depth = self.depth
        while True:
            if self.take("."):
                name = self.name()
                if self.text == "(":
                    self.note(path)
                    path = None
                    self.deeper()
                    tree = self.method(tree, name)
                    continue
                tree = Member(tree, name)
                if path is not None:
                    path.append(name)
            elif self.take("["):
                what = self.expression()
                self.expect("]")
                if isinstance(what, Literal) and (
                    type(what.value) is str or (type(what.value) is int and what.value >= 0)
                ):
                    tree = Member(tree, what.value)
                    if path is not None:
                        path.append(what.value)
                else:
                    self.note(path)
                    path = None
                    self.deeper()
                    tree = Index(tree, what)
            else:
                break
        self.note(path)
        self.depth = depth
        return tree

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise SourceError(f"it is nested too deeply, at most {MAX_DEPTH} calls in calls: split it")

    def note(self, path: list[str | int] | None) -> None:
        if path is not None:
            self.paths.append(tuple(path))

    def name(self) -> str:
        kind, text, _ = self.tokens[self.position]
        if kind != "name":
            raise self.unexpected(": a name is missing")
        self.position += 1
        return text

    def primary(self) -> Tree:
        kind, text, _ = self.tokens[self.position]
        if kind == "string":
            self.position += 1
            return Literal(_text(text))
        if kind == "number":
            self.position += 1
            return Literal(_number(text))
        if kind == "name" and text not in LITERALS:
            self.position += 1
            return self.named(text)
        if text in ("true", "false", "null"):
            self.position += 1
            return Literal({"true": True, "false": False, "null": None}[text])
        if self.take("("):
            tree = self.expression()
            self.expect(")")
            return tree
        if self.take("["):
            return ListOf(self.list("]"))
        if self.take("{"):
            return self.map()
        raise self.unexpected()

    def named(self, name: str) -> Tree:
        if self.text == "(":
            return self.call(name, ())
        if self.bound.get(name):
            slot = self.bound[name][-1]
            self.uses[slot] += 1
            return Variable(name, slot)
        if name == "optional" and self.text == ".":
            self.position += 1
            return self.call(f"optional.{self.name()}", ())
        return Literal(name) if name in TYPES else Name(name)

    def call(self, name: str, before: tuple[Tree, ...]) -> Tree:
        self.expect("(")
        arguments = self.list(")")
        if name == "has" and not before:
            if len(arguments) != 1 or not isinstance(arguments[0], Member | Index | Name | Variable):
                raise SourceError("has() takes one path, such as has(input.a.b)")
            return Has(arguments[0])
        self.functions.add(name)
        return Call(name, (*before, *arguments))

    def list(self, end: str) -> tuple[Tree, ...]:
        items: list[Tree] = []
        while not self.take(end):
            items.append(self.expression())
            if not self.take(","):
                self.expect(end)
                break
        return tuple(items)

    def map(self) -> Tree:
        items: list[tuple[Tree, Tree]] = []
        while not self.take("}"):
            key = self.expression()
            self.expect(":")
            items.append((key, self.expression()))
            if not self.take(","):
                self.expect("}")
                break
        return MapOf(tuple(items))

    def method(self, base: Tree, name: str) -> Tree:
        if name not in MACROS:
            return self.call(name, (base,))
        following = self.tokens[self.position + 1 : self.position + 3]
        if len(following) < 2 or following[0].kind != "name" or following[1].text != ",":
            raise SourceError(f"{name}() takes a name and an expression, such as list.{name}(x, x.a > 1)")
        variable = following[0].text
        self.position += 3
        slot = len(self.uses)
        self.uses.append(0)
        self.bound.setdefault(variable, []).append(slot)
        first, second = self.expression(), None
        if name == "map" and self.take(","):
            self.uses[slot] = 0
            second = self.expression()
        self.take(",")
        self.expect(")")
        self.bound[variable].pop()
        if name == "map":
            self.growth *= max(1, self.uses[slot])
        return Macro(name, base, slot, None if second is None else first, first if second is None else second)


def _number(text: str) -> int | float:
    digits = text.rstrip("uU")
    if digits[:2] in ("0x", "0X"):
        return int(digits, 16)
    if digits.isdecimal():
        if len(digits) > 400:
            raise SourceError(f"a number of {len(digits)} digits: make it a text")
        return int(digits)
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise SourceError(f"{text} is larger than any number that JSON readers know")
    return value


def _text(token: str) -> str | bytes:
    prefix = token[: min(token.find(quote) for quote in "\"'" if quote in token)].lower()
    body = token[len(prefix) :]
    quotes = 3 if body[:3] in ('"""', "'''") and len(body) >= 6 else 1
    body = body[quotes:-quotes]
    if "r" not in prefix and "\\" in body:
        body = _ESCAPE.sub(_unescaped, body)
    return body.encode() if "b" in prefix else body


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code or match[4]:
        number = int(code, 16) if code else int(match[4], 8)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise SourceError(f"{match[0]} is no character")
        return chr(number)
    if match[5] not in _ESCAPES:
        raise SourceError(f"in a text {match[0]} means nothing: write \\\\ for a backslash")
    return _ESCAPES[match[5]]
