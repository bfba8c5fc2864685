"""The text of expressions: tokens, templates, translation, paths. Pure functions; nothing is evaluated here.

Three things are done to what a user wrote before CEL sees it.

split       a template `a {{ x }} b` into its literal and its expression parts
translate   habits of other languages into CEL, once, when the workflow is stored: `===`, `and`, `(acc, item) => ..`,
            node ids with hyphens. Translating twice changes nothing.
hoist       every plain path (`input.a.b[0]`, `nodes["x"].output`) out of the expression, into a slot: Python walks the
            path and CEL is given only the value at its end. CEL copies all that it is given, both ways: with a list of
            5,000 rows in `input`, `size(input.rows) > 3` costs 60 ms, `input.count > 3` would cost the same, and 6 us
            when hoisted. It also gives "missing = null" its exact place: the path, not the whole expression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
ARROW = re.compile(r"\s*(?:\(\s*([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)\s*\)|([A-Za-z_]\w*))\s*=>\s*")
NODES_DOT = re.compile(r"\s*\.\s*")
NODE_NAME = re.compile(r"[\w-]+")

OPERATORS = {"===": "==", "!==": "!="}
WORDS = {"and": "&&", "or": "||", "not": "!", "True": "true", "False": "false", "None": "null"}
LITERALS = frozenset({"true", "false", "null", "in"})
RESERVED = LITERALS | set("as break const continue else for function if import let loop package namespace".split())
RESERVED |= {"return", "var", "void", "while"}
TYPES = frozenset("int uint double bool string bytes list map null_type timestamp duration type optional".split())
MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})

MAX_LENGTH = 8_000  # characters; the CEL parser recurses on the C stack, and 8 MiB of stack are enough for this
MAX_NODE_ID = 255
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
    """One path, under the name by which the hoisted text knows it. has: the value is whether the path exists."""

    name: str
    path: Path
    has: bool


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
        end = _closing(text, start + 2)
        parts.append(Code(text[start + 2 : end].strip()))
        position = end + 2
    if position < len(text) or not parts:
        parts.append(text[position:])
    return parts


def _closing(text: str, start: int) -> int:
    """Where the `}}` is that ends the `{{` before `start`: braces of maps and of strings inside do not count."""
    depth = 0
    for token in tokens(text, start):
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0 and text.startswith("}}", token.start):
                return token.start
            depth = max(0, depth - 1)
    raise SourceError('"{{" without "}}" after it; literal braces are written {{ "{{" }}')


def translate(text: str, node_ids: Collection[str], names: Sequence[str] = ()) -> str:
    """CEL for what a user wrote. node_ids: pass a set. names: what the parameters of an arrow function stand for.

    `nodes.http-1.output` -> `nodes["http-1"].output` (the longest id that fits); === !== and or not True False None;
    `(acc, x) => acc + x` -> `acc + item`; a whole `{{ x }}` -> `x`, an inner one -> `(x)`. Raises SourceError.
    """
    if len(text) > MAX_LENGTH:
        raise SourceError(f"an expression may have {MAX_LENGTH} characters, this one has {len(text)}: split it")
    text = text.strip()
    if text.startswith("{{") and _closing(text, 2) == len(text) - 2:
        return translate(text[2:-2], node_ids, names)
    text, renamed = _without_arrow(text, names)
    out: list[str] = []
    position, previous = 0, ""
    while match := TOKEN.match(text, position):
        piece, kind, position = match.group(), match.lastgroup, match.end()
        if kind == "string" and "{{" in piece and "}}" in piece:
            raise SourceError(f"{piece} is a text, its braces are not filled in: leave the quotes and the braces away")
        if kind == "name" and previous != ".":
            if piece == "nodes" and (dot := NODES_DOT.match(text, position)):
                piece, position = _node(text, dot.end(), node_ids)
            else:
                piece = renamed.get(piece, WORDS.get(piece, piece))
        elif text.startswith("{{", match.start()):
            end = _closing(text, position + 1)
            piece, position = f"({translate(text[position + 1 : end], node_ids)})", end + 2
        out.append(OPERATORS.get(piece, piece))
        if kind != "space":
            previous = piece
    return "".join(out)


def with_aliases(text: str, aliases: Mapping[str, str]) -> str:
    """A translated expression with its root names replaced: {"row": "nodes.each.output.item"} makes `row.x` that item's
    x. Members, texts, functions and the variables of macros keep their names."""
    found = list(tokens(text))
    hidden = _hidden(found)
    out: list[str] = []
    position = 0
    for index, token in enumerate(found):
        is_root = token.kind == "name" and token.text in aliases and _text(found, index - 1) != "."
        if is_root and _text(found, index + 1) != "(" and index not in hidden.get(token.text, ()):
            out.extend((text[position : token.start], aliases[token.text]))
            position = token.start + len(token.text)
    return "".join((*out, text[position:]))


def _hidden(found: Sequence[Token]) -> dict[str, set[int]]:
    """Where a name is the variable of a macro: from its place in `.map(x, ...)` to the bracket that ends the call."""
    hidden: dict[str, set[int]] = {}
    for start in _variables(found):
        depth, end = 1, start
        while depth and end + 1 < len(found):
            end += 1
            depth += (found[end].text == "(") - (found[end].text == ")")
        hidden.setdefault(found[start].text, set()).update(range(start, end))
    return hidden


def _without_arrow(text: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The body of an arrow function, and its parameters' names -> ours, by position. Other text is left as it is."""
    arrow = ARROW.match(text) if names else None
    if arrow is None:
        return text, {}
    parameters = [name.strip() for name in (arrow[1] or arrow[2]).split(",")]
    if len(parameters) > len(names):
        raise SourceError(f"the function may have the parameters {', '.join(names)}, this one has {len(parameters)}")
    return text[arrow.end() :], dict(zip(parameters, names, strict=False))


def _node(text: str, start: int, node_ids: Collection[str]) -> tuple[str, int]:
    """`nodes` and the id that begins at `start`, and where the id ends. An unknown id is written out all the same."""
    for end in range(min(len(text), start + MAX_NODE_ID), start, -1):
        if text[start:end] in node_ids and not NODE_NAME.match(text, end):
            break
    else:
        word = NODE_NAME.match(text, start)
        if word is None or text.startswith("(", word.end()):  # a method: nodes.size()
            return "nodes.", start
        end = word.end()
    node_id = text[start:end]
    if PLAIN_NAME.fullmatch(node_id) and node_id not in RESERVED:
        return f"nodes.{node_id}", end
    return f"nodes[{json.dumps(node_id, ensure_ascii=False)}]", end


def hoist(text: str) -> Hoisted:
    """Take the plain paths out of a translated expression."""
    found = list(tokens(text))
    bound = _bound(found)
    slots: dict[tuple[Path, bool], Slot] = {}
    out: list[str] = []
    free: set[str] = set()
    position = index = 0

    def put(path: Path, has: bool, first: int, after: int) -> None:
        nonlocal position, index
        slot = slots.setdefault((path, has), Slot(f"{SLOT}{len(slots)}", path, has))
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
