"""The text of expressions: tokens, templates, translation, paths. Pure functions; nothing is evaluated here.

Three things are done to what a user wrote before CEL sees it.

split       a template `a {{ x }} b` into its literal and its expression parts
translate   habits of other languages into CEL, once, when the workflow is stored: dialects.py
hoist       every plain path (`input.a.b[0]`, `nodes["x"].output`) out of the expression, into a slot: Python walks the
            path and CEL is given only the value at its end. CEL copies all that it is given, both ways: with a list of
            5,000 rows in `input`, `size(input.rows) > 3` costs 60 ms, `input.count > 3` would cost the same, and 6 us
            when hoisted. It also gives "missing = null" its exact place: the path, not the whole expression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# CEL's own tokens, and three more (===, !==, =>) that translate() removes. The last alternative matches any character,
# so that scanning never fails: what is not CEL is left for the CEL parser to complain about.
TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>[bB]?[rR](?:"[^"\n]*"|'[^'\n]*')
        |[bB]?(?:\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}(?:[^\\]|\\.)*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<op>===|!==|==|!=|=>|<=|>=|&&|\|\||.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

LITERALS = frozenset({"true", "false", "null", "in"})
RESERVED = LITERALS | set("as break const continue else for function if import let loop package namespace".split())
RESERVED |= {"return", "var", "void", "while"}
TYPES = frozenset("int uint double bool string bytes list map null_type timestamp duration type optional".split())
ARROW = re.compile(r"\s*(?:\(\s*([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)\s*\)|([A-Za-z_]\w*))\s*=>\s*")
MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
WITH_VARIABLE = MACROS | {"some", "every"}  # before translation

MAX_LENGTH = 8_000  # characters; the CEL parser recurses on the C stack, and 8 MiB of stack are enough for this
SLOT = "dray__"


class SourceError(ValueError):
    """The text cannot be split or translated; the message says what to write instead."""


class Token(NamedTuple):
    kind: str
    text: str
    start: int


class Code(NamedTuple):
    """The expression inside one `{{ }}`."""

    text: str


Path = tuple[str | int, ...]


class Slot(NamedTuple):
    """One path, under the name by which the hoisted text knows it. has: the value is whether the path exists.

    or_null: it is compared with null, so that it is no mistake if it is missing.
    """

    name: str
    path: Path
    has: bool
    or_null: bool


class Hoisted(NamedTuple):
    """text: CEL over the slots. free: names that are neither slots nor known to CEL, to be passed whole (they are
    bound by a macro somewhere in the text, and may also be meant from outside)."""

    text: str
    slots: tuple[Slot, ...]
    free: frozenset[str]


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    """The tokens from `start`, white space and comments left out."""
    for match in TOKEN.finditer(text, start):
        kind = match.lastgroup or "op"
        if kind != "space":
            yield Token(kind, match.group(), match.start())


def split(text: str) -> list[str | Code]:
    """The parts of a template, in order. Literal braces are written {{ "{{" }}. Raises SourceError."""
    parts: list[str | Code] = []
    position = 0
    while (start := text.find("{{", position)) >= 0:
        if start > position:
            parts.append(text[position:start])
        end = closing(text, start + 2)
        parts.append(Code(text[start + 2 : end].strip()))
        position = end + 2
    if position < len(text) or not parts:
        parts.append(text[position:])
    return parts


def closing(text: str, start: int, end: str = "}}") -> int:
    """Where the braces are that end what begins at `start`: those of maps and of strings inside do not count."""
    depth = 0
    for token in tokens(text, start):
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0 and text.startswith(end, token.start):
                return token.start
            depth = max(0, depth - 1)
    begin = "${" if end == "}" else "{{"
    literal = "" if end == "}" else '; literal braces are written {{ "{{" }}'
    raise SourceError(f'"{begin}" without "{end}" after it{literal}')


def is_path(text: str) -> bool:
    """Whether the text is a plain path and nothing else."""
    found = list(tokens(text))
    path, after = _path(found, 0)
    return bool(path) and after == len(found)


def is_bracketed(text: str) -> bool:
    """Whether the bracket that the text begins with is closed by its last character."""
    depth = 0
    for token in tokens(text):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0:
            return token.start == len(text) - 1
    return False


def variables(text: str) -> Iterator[tuple[str, int, int]]:
    """The variables of macros, `.map(x, ..)` or `.map(x => ..)`, each with where it is visible."""
    found = list(tokens(text))
    for i in range(len(found) - 4):
        if found[i].text != "." or found[i + 1].text not in WITH_VARIABLE or found[i + 2].text != "(":
            continue
        first = found[i + 3]
        arrow = ARROW.match(text, first.start)
        if arrow is None and not (first.kind == "name" and found[i + 4].text == ","):
            continue
        depth, end = 1, len(text)
        for token in found[i + 3 :]:
            depth += (token.text == "(") - (token.text == ")")
            if depth == 0:
                end = token.start
                break
        yield (arrow[1] or arrow[2]) if arrow else first.text, first.start, end


def hoist(text: str) -> Hoisted:
    """Take the plain paths out of a translated expression."""
    found = list(tokens(text))
    bound = _bound(found)
    slots: dict[tuple[Path, bool, bool], Slot] = {}
    out: list[str] = []
    free: set[str] = set()
    position = index = 0

    def put(path: Path, has: bool, first: int, after: int) -> None:
        nonlocal position, index
        or_null = _is_null_test(found, after, after + 1) or _is_null_test(found, first - 1, first - 2)
        slot = slots.setdefault((path, has, or_null), Slot(f"{SLOT}{len(slots)}", path, has, or_null))
        out.extend((text[position : found[first].start], slot.name))
        last = found[after - 1]
        position, index = last.start + len(last.text), after

    while index < len(found):
        token = found[index]
        if token.kind != "name" or token.text in LITERALS or (index and found[index - 1].text == "."):
            index += 1
        elif token.text in bound:
            free.add(token.text)
            index += 1
        elif _text(found, index + 1) == "(":
            path, after = _path(found, index + 2) if token.text == "has" else ((), 0)
            # has() wants a field selection as its argument, which a slot is not: so the slot is its answer.
            if len(path) > 1 and path[0] not in bound and _text(found, after) == ")":
                put(path, True, index, after + 1)
            else:
                index += 1
        elif token.text in TYPES:
            index += 1
        else:
            path, after = _path(found, index)
            put(path, False, index, after)
    return Hoisted("".join((*out, text[position:])), tuple(slots.values()), frozenset(free))


def _is_null_test(found: Sequence[Token], operator: int, operand: int) -> bool:
    return _text(found, operator) in ("==", "!=") and _text(found, operand) == "null"


def _bound(found: Sequence[Token]) -> frozenset[str]:
    """Variables of macros: the x of `.map(x, ...)`."""
    return frozenset(found[index].text for index in _variables(found))


def _variables(found: Sequence[Token]) -> list[int]:
    """Where macros name their variables."""
    return [
        i + 3
        for i in range(len(found) - 4)
        if found[i].text == "."
        and found[i + 1].text in MACROS
        and found[i + 2].text == "("
        and found[i + 4].text == ","
    ]


def _path(found: Sequence[Token], start: int) -> tuple[Path, int]:
    """The path that begins at token `start`, and the index of the token after it. Empty if there is none."""
    if start >= len(found) or found[start].kind != "name" or found[start].text in LITERALS | TYPES:
        return (), start
    path: list[str | int] = [found[start].text]
    index = start + 1
    while index + 1 < len(found):
        after = _text(found, index + 2)
        if found[index].text == "." and found[index + 1].kind == "name" and after != "(":
            path.append(found[index + 1].text)
            index += 2
        elif found[index].text == "[" and after == "]" and (key := _key(found[index + 1])) is not None:
            path.append(key)
            index += 3
        else:
            break
    return tuple(path), index


def _key(token: Token) -> str | int | None:
    """The value of a literal index; None where it is better left to CEL."""
    if token.kind == "number":
        return int(token.text) if token.text.isdecimal() else None
    if token.kind == "string" and token.text[0] in "\"'" and not token.text.startswith(('"""', "'''")):
        if "\\" not in token.text:
            return token.text[1:-1]
        if token.text[0] == '"':
            try:
                return str(json.loads(token.text))
            except ValueError:
                return None
    return None


def _text(found: Sequence[Token], index: int) -> str:
    return found[index].text if 0 <= index < len(found) else ""


def with_doubles(text: str) -> str:
    """The same expression with its whole numbers written as doubles, indexes (`x[0]`) excepted."""
    found = list(tokens(text))
    out: list[str] = []
    position = 0
    for i, token in enumerate(found):
        is_index = (
            _text(found, i - 1) == "["
            and _text(found, i + 1) == "]"
            and i >= 2
            and (found[i - 2].kind in ("name", "string") or found[i - 2].text in ")]")
        )
        if token.kind == "number" and token.text.isdecimal() and not is_index:
            position_after = token.start + len(token.text)
            out.append(f"{text[position:position_after]}.0")
            position = position_after
    return "".join((*out, text[position:]))


def show(path: Path) -> str:
    """The path as one writes it."""
    return str(path[0]) + "".join(
        f".{part}"
        if isinstance(part, str) and PLAIN_NAME.fullmatch(part)
        else f"[{json.dumps(part, ensure_ascii=False)}]"
        for part in path[1:]
    )
