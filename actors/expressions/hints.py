"""What to write instead of what CEL refuses."""

from __future__ import annotations

import re

from dray.actors.expressions.source import tokens

# What does not become CEL, and what to write instead; looked for when CEL has refused a text.
HINTS = (
    (re.compile(r"(?<![=!<>])=(?![=>])"), "compare with =="),
    (re.compile(r"\bnot\s+in\b"), "write !(x in list)"),
    (re.compile(r"\?\?"), "write has(x) ? x : other"),
    (re.compile(r"\?\."), "write has(a.b) && ..."),
    (re.compile(r"\bif\b.*\belse\b", re.DOTALL), "write condition ? this : that"),
    (re.compile(r"\*\*"), "there are no powers: multiply"),
    (re.compile(r"=>"), "a function may only be the whole field, or the argument of map, filter, some, every"),
    (re.compile(r"[;]|\breturn\b|\b(?:let|const|var)\s"), "write one expression, without statements"),
    (re.compile(r"(?<!\|)\|(?!\|)|(?<!&)&(?!&)"), "write || or &&"),
    (re.compile(r"\btypeof\b"), "write type(x)"),
)
_CASES = "text.matches('(?i)..')"
_CODE = "a code node"
INSTEAD = {
    "includes": "x in list, or text.contains(x)", "get": "has(x.key) ? x.key : other", "find": "list.filter(x, ..)[0]",
    "any": "list.exists(x, ..)", "indexOf": "text.contains(x)", "isinstance": "type(x) == list",
    "toString": "string(x)", "bool": "x == true", "Boolean": "x == true", "toLowerCase": _CASES, "toUpperCase": _CASES,
    "lower": _CASES, "upper": _CASES, "length": "size(x)", "reduce": "a reduce node", "sum": "a reduce node",
    **dict.fromkeys("sort sorted join split replace trim strip round abs min max floor ceil".split(), _CODE),
}  # fmt: skip


def hint(text: str) -> str:
    """` (write ...)` for a text that CEL refused, as it was written; or nothing."""
    for token in reversed(list(tokens(text))):
        if token.kind == "string":
            text = f"{text[: token.start]}''{text[token.start + len(token.text) :]}"
    return next((f" ({todo})" for pattern, todo in HINTS if pattern.search(text)), "")
