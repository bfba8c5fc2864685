"""What people write -> CEL, once, when a workflow is stored. Pure; translating what came out changes nothing.

Names, by what stands where a name begins (members, texts and the variables of macros are left alone):

    nodes.http-1.output.x                     nodes["http-1"].output.x; of the ids that fit the longest
    http-1.x  http-1.output.x  http-1_output.x    the same; the id must look like a name
    http-1.result.x                           nodes["http-1"].result.x: its output's own `result` if it has one
    item, row, index                          what the field or the loop around the node calls so
    input, vars, execution, error, secrets    as they are
    trigger.x  trigger.data.x  data.x         as they are: the input, by its names on the platform
    amount                                    input.amount; it is told, for it may be a slip of the pen
    ${x}  {{ x }}  $.x                        x, as above; of `$` the input

Syntax: === !== and or not is None True False undefined; `x => ..`, `(acc, x) => ..`; .some() .every(); keys of objects
without quotes; texts with ${x} or {{ x }} in them, also in backticks; len() str() float() parseInt() and the like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from dray.actors.expressions.source import (
    ARROW,
    LITERALS,
    MAX_LENGTH,
    PLAIN_NAME,
    RESERVED,
    TOKEN,
    TYPES,
    WITH_VARIABLE,
    SourceError,
    closing,
    is_bracketed,
    is_path,
    tokens,
    variables,
)  # fmt: skip  # isort: skip

DOT = re.compile(r"\s*\.\s*")
NODE_NAME = re.compile(r"[\w-]+")
OUTPUT = re.compile(r"\s*\.\s*(output|result)\b(?!\s*\()")
MEMBER = re.compile(r"\s*\.\s*[A-Za-z_]")
# `http_request-17.x` can be nothing but a node: no number has members.
CERTAIN_NODE = re.compile(r"[A-Za-z_][\w-]*-\d+(?:_output)?(?=\s*\.\s*[A-Za-z_])")
SPECIAL = re.compile(r"[{}$`]")  # what begins or ends an expression in a text
HOLE = re.compile(r"\$\{|\{\{")
FILLED = re.compile(r"\$\{.*?\}|\{\{.*?\}\}", re.DOTALL)

OPERATORS = {"===": "==", "!==": "!="}
WORDS = {"and": "&&", "or": "||", "True": "true", "False": "false", "None": "null", "undefined": "null"}
ROOTS = ("input", "nodes", "vars", "execution", "error", "secrets", "trigger", "data")
FUNCTIONS = {
    "len": "size", "str": "string", "String": "string", "float": "double", "Number": "double", "parseFloat": "double",
    "parseInt": "int",
}  # fmt: skip
METHODS = {"some": "exists", "every": "all", "startswith": "startsWith", "endswith": "endsWith"}
MAX_NODE_ID = 255
MAX_DEPTH = 30  # expressions in expressions; each is read again
ENDS_NOT = frozenset({"and", "or", "&&", "||", "?", ":", ",", ")", "]", "}"})


class Names(NamedTuple):
    """What a text may name. node_ids: pass a set. own: names of the field, in the order in which a function takes them.

    aliases: name -> path, translated.
    """

    node_ids: Collection[str]
    own: Sequence[str] = ()
    aliases: Mapping[str, str] = MappingProxyType({})


class Translated(NamedTuple):
    """assumed: names that nothing else was known of, taken as keys of the input."""

    text: str
    assumed: frozenset[str]


def translate(text: str, names: Names) -> Translated:
    """CEL for what a user wrote. Raises SourceError, which says what to write instead."""
    if len(text) > MAX_LENGTH:
        raise SourceError(f"an expression may have {MAX_LENGTH} characters, this one has {len(text)}: split it")
    translation = _Translation(names)
    return Translated(translation.whole(text), frozenset(translation.assumed))


def node_path(node_id: str) -> str:
    """How an expression names a node: the same wherever it is read again, also in a `{{ }}` and by a translation."""
    if PLAIN_NAME.fullmatch(node_id) and node_id not in RESERVED:
        return f"nodes.{node_id}"
    text = SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(node_id, ensure_ascii=False))
    return f"nodes[{text}]"


class _Translation:
    """One expression. renamed: the parameters of its arrow function -> the field's own names."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.renamed: dict[str, str] = {}
        self.assumed: set[str] = set()
        self.has_types = False

    def whole(self, text: str) -> str:
        text = text.strip()
        while text.startswith("{{") and closing(text, 2) == len(text) - 2:
            text = text[2:-2].strip()
        # `type(x) == int` is about types; without type() a name such as `timestamp` is the input's.
        self.has_types = re.search(r"\btype\s*\(", text) is not None
        return self.code(self.without_arrow(text), frozenset(), 0)

    def without_arrow(self, text: str) -> str:
        arrow = ARROW.match(text) if self.names.own else None
        if arrow is None:
            return text
        parameters = [name.strip() for name in (arrow[1] or arrow[2]).split(",")]
        if len(parameters) > len(self.names.own):
            known = ", ".join(self.names.own)
            raise SourceError(f"the function may have the parameters {known}, this one has {len(parameters)}")
        self.renamed = dict(zip(parameters, self.names.own, strict=False))
        return text[arrow.end() :]

    def code(self, text: str, bound: frozenset[str], depth: int) -> str:
        """bound: variables of macros around it."""
        if depth > MAX_DEPTH:
            raise SourceError("expressions are nested too deeply in one another: split it")
        return "".join(_Walk(self, text, bound, depth).pieces())

    def inner(self, text: str, bound: frozenset[str], depth: int) -> str:
        """What stood in `${ }` or `{{ }}`: a path stays one, all else is bracketed."""
        if "-" in text and NODE_NAME.fullmatch(text.strip()) and text.strip() not in self.names.node_ids:
            return f"input[{json.dumps(text.strip(), ensure_ascii=False)}]"
        code = self.code(text.strip(), bound, depth + 1)
        return code if is_path(code) else f"({code})"

    def node_at(self, text: str, start: int) -> tuple[str, int] | None:
        """The longest node id, or id with `_output`, that begins here, and where it ends. It must look like a name, or
        be followed by `.output`: `1 + x` is no node."""
        word = NODE_NAME.match(text, start)
        if word is None:
            return None
        is_name = not text[start].isdecimal() and text[start] != "-"
        for end in range(min(word.end(), start + MAX_NODE_ID), start, -1):
            if end < len(text) and (text[end].isalnum() or text[end] == "_"):
                continue
            found = text[start:end]
            short = found.removesuffix("_output")
            if found in self.names.node_ids and (is_name or OUTPUT.match(text, end)):
                return found, end
            if short != found and short in self.names.node_ids:
                return short, end
        return None


class _Walk:
    """One pass over one text. position: the first character that is not read yet."""

    def __init__(self, translation: _Translation, text: str, bound: frozenset[str], depth: int) -> None:
        self.all = translation
        self.text = text
        self.bound = bound
        self.depth = depth
        self.position = 0
        self.previous = ""  # what stood before, without spaces
        self.is_operand = False  # whether that was a value
        self.brackets: list[str] = []
        self.variables = list(variables(text)) if "(" in text else []

    def pieces(self) -> Iterator[str]:
        while match := TOKEN.match(self.text, self.position):
            start, piece, kind = match.start(), match.group(), match.lastgroup
            self.position = match.end()
            if kind == "space":
                if piece.startswith("//"):
                    raise SourceError("// begins a comment: for a whole number write int(a / b)")
                yield piece
                continue
            if kind == "name":
                made = self.name(piece, start)
            elif kind == "string":
                made = (
                    self.string(piece, piece[1:-1], start) if piece[0] in "\"'" and piece[:3] != piece[0] * 3 else piece
                )
            elif kind == "number":
                node = self.all.node_at(self.text, start) if self.previous != "." else None
                made = self.node(*node) if node else piece
            else:
                made = self.op(piece, start)
            yield made
            self.previous = piece
            self.is_operand = (
                kind in ("string", "number")
                or piece in (")", "]", "}")
                or (kind == "name" and piece not in ("and", "or", "not", "in", "is"))
            )

    def visible(self, start: int) -> frozenset[str]:
        """Variables of macros at this place."""
        return self.bound | {name for name, first, end in self.variables if first <= start < end}

    def after(self, position: int) -> str:
        return next((token.text for token in tokens(self.text, position)), "")

    # Names

    def name(self, piece: str, start: int) -> str:
        following = self.after(self.position)
        if self.previous == ".":
            return self.member(piece, following)
        if following == ":" and (self.previous == "{" or (self.previous == "," and self.brackets[-1:] == ["{"])):
            return json.dumps(piece)
        names = self.all.names
        node = self.all.node_at(self.text, start)
        is_longer = node is not None and node[1] > self.position
        if node and is_longer and MEMBER.match(self.text, node[1]):  # `row-1.x`, also where there is a `row`
            return self.node(*node)
        if piece in self.visible(start) or piece in self.all.renamed or piece in names.own:
            return piece if piece in self.visible(start) else self.all.renamed.get(piece, piece)
        if piece in names.aliases and following != "(":
            return names.aliases[piece]
        if piece == "nodes" and (dot := DOT.match(self.text, self.position)):
            return self.named_node(dot.end())
        return self.node(*node) if node and is_longer else self.plain(piece, start, following, node)

    def plain(self, piece: str, start: int, following: str, node: tuple[str, int] | None) -> str:
        """A name that nothing around it explains. node: the one that is called exactly so."""
        if piece in ("not", "is"):
            return self.not_(start) if piece == "not" else self.is_()
        if piece in WORDS or piece in LITERALS:
            return WORDS.get(piece, piece)
        if piece in ROOTS and not (piece == "data" and node):
            return piece
        if following == "(":
            return FUNCTIONS.get(piece, piece)
        if node:
            return self.node(*node)
        if piece in TYPES and (self.all.has_types or (piece == "optional" and following == ".")):
            return piece
        if certain := CERTAIN_NODE.match(self.text, start):
            return self.node(certain[0].removesuffix("_output"), certain.end())
        self.all.assumed.add(piece)
        return f'input["{piece}"]' if piece in RESERVED else f"input.{piece}"

    def member(self, piece: str, following: str) -> str:
        if following != "(":
            if piece == "length" and self.text[: self.position - len(piece)].rstrip(" .").endswith(")"):
                raise SourceError("write size(...) in place of .length")
            return piece
        made = METHODS.get(piece, piece)
        open_at = self.text.index("(", self.position) + 1
        if piece in WITH_VARIABLE and (arrow := ARROW.match(self.text, open_at)):
            parameters = arrow[1] or arrow[2]
            if "," in parameters:
                raise SourceError(f"the function in {piece}() may have one parameter, not ({parameters})")
            self.position = arrow.end()
            self.brackets.append("(")
            return f"{made}({parameters}, "
        return made

    def named_node(self, start: int) -> str:
        """Behind `nodes.`; an unknown id is written out all the same."""
        ids = self.all.names.node_ids
        for end in range(min(len(self.text), start + MAX_NODE_ID), start, -1):
            if self.text[start:end] in ids and not NODE_NAME.match(self.text, end):
                break
        else:
            word = NODE_NAME.match(self.text, start)
            if word is None or self.text.startswith("(", word.end()):  # a method: nodes.size()
                self.position = start
                return "nodes."
            end = word.end()
        self.position = end
        return node_path(self.text[start:end])

    def node(self, node_id: str, end: int) -> str:
        """A node by its id alone: what follows is of its output."""
        says = OUTPUT.match(self.text, end)
        self.position = says.end() if says else end
        if says and self.text[:end].endswith("_output") and not node_id.endswith("_output"):
            self.position, says = end, None  # a_output.output: a key of that name
        return f"{node_path(node_id)}.{says[1] if says else 'output'}"

    # Words that are operators

    def not_(self, start: int) -> str:
        """Python's `not` takes in a comparison, `!` does not."""
        if self.is_operand:
            raise SourceError("write !(x in list) in place of x not in list")
        end = self.operand_end()
        operand = self.text[self.position : end].rstrip()
        self.position += len(operand)
        operand = operand.lstrip()
        code = self.all.code(operand, self.visible(start), self.depth + 1)
        return f"!{code}" if operand.startswith("(") and is_bracketed(operand) else f"!({code})"

    def operand_end(self) -> int:
        depth, position, previous = 0, self.position, ""
        while match := TOKEN.match(self.text, position):
            piece, position = match.group(), match.end()
            if match.lastgroup == "name" and (node := self.all.node_at(self.text, match.start())):
                position = max(position, node[1])
                continue
            if depth == 0 and piece in ENDS_NOT and previous != ".":
                return match.start()
            previous = piece
            depth += (piece in ("(", "[", "{")) - (piece in (")", "]", "}"))
        return len(self.text)

    def is_(self) -> str:
        if not self.is_operand:
            self.all.assumed.add("is")
            return "input.is"
        if self.after(self.position) == "not":
            self.position = self.text.index("not", self.position) + 3
            return "!="
        return "=="

    # Braces, dollars, texts

    def op(self, piece: str, start: int) -> str:
        text = self.text
        if text.startswith("{{", start) and (end := self.closing_if_any(start + 2)) >= 0:
            self.position = end + 2
            return self.all.inner(text[start + 2 : end], self.visible(start), self.depth)
        if piece == "$":
            return self.dollar(start)
        if piece == "`":
            end = text.find("`", self.position)
            if end < 0:
                raise SourceError("a ` without another one after it")
            body, self.position = text[self.position : end], end + 1
            return self.string(None, body, start)
        if piece in ("(", "[", "{"):
            self.brackets.append(piece)
        elif piece in (")", "]", "}") and self.brackets:
            self.brackets.pop()
        return OPERATORS.get(piece, piece)

    def closing_if_any(self, start: int) -> int:
        """A `{{` may also be two maps."""
        try:
            return closing(self.text, start)
        except SourceError:
            return -1

    def dollar(self, start: int) -> str:
        if self.text.startswith("{", self.position):
            end = closing(self.text, self.position + 1, "}")
            inside, self.position = self.text[self.position + 1 : end], end + 1
            return self.all.inner(inside, self.visible(start), self.depth)
        if re.match(r"\$[^\s)]*(?:\.\.|\[\s*[*?])", self.text[start:]):
            raise SourceError(
                "of JSONPath only plain paths are read: write input.items.exists(x, x.a == 1) or the like"
            )
        return "input" if self.text[self.position : self.position + 1] in (".", "[") else "$"

    def string(self, whole: str | None, body: str, start: int) -> str:
        """A text; with holes in it a sum of texts. whole: as it was written; None for one in backticks."""
        if whole is not None and not FILLED.search(body):
            return whole
        parts: list[str] = []
        position = 0
        while hole := HOLE.search(body, position):
            end_text = "}" if hole[0] == "${" else "}}"
            try:
                end = closing(body, hole.end(), end_text)
            except SourceError:
                break
            parts.append(_literal(whole, body[position : hole.start()]))
            inside = self.all.code(body[hole.end() : end].strip(), self.visible(start), self.depth + 1)
            parts.append(f"text({inside})")
            position = end + len(end_text)
        parts.append(_literal(whole, body[position:]))
        full = [part for part in parts if part not in ('""', "''")] or ['""']
        return full[0] if len(full) == 1 else f"({' + '.join(full)})"


def _literal(whole: str | None, text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if whole is None else f"{whole[0]}{text}{whole[0]}"
