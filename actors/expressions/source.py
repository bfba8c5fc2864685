"""The text of expressions: tokens, templates, translation, paths. Pure functions; nothing is evaluated here.

split       a template `a {{ x }} b` into its literal and its expression parts
translate   habits of other languages into CEL, once, when the workflow is stored: dialects.py
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

MAX_LENGTH = 8_000  # characters


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


def show(path: Path) -> str:
    """The path as one writes it."""
    return str(path[0]) + "".join(
        f".{part}"
        if isinstance(part, str) and PLAIN_NAME.fullmatch(part)
        else f"[{json.dumps(part, ensure_ascii=False)}]"
        for part in path[1:]
    )
