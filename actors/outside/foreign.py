"""Text and JSON that came from outside, as what Postgres can hold. Nothing here fails: what a service answered, or a
script printed, is no reason for a failure after it has taken effect.

What is no text becomes U+FFFD, as NUL and half a surrogate pair do; an infinite number becomes null; what is no JSON,
or is nested deeper than DEEPEST, is None.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any, NoReturn

from dray.plain import DEEPEST

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip
# Python knows them as encodings of text, but they read escapes or host names, and some of them raise whatever is said.
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf-7"})
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def text_of(body: bytes, charset: str | None = None, is_json: bool = False) -> str:
    """A mark at the beginning wins over the charset. is_json: without either, UTF-16 and UTF-32 are known by their
    zero bytes."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return storable(body[len(mark) :].decode(name, "replace"))
    if charset is None and is_json and 0 in body[:4]:
        charset = json.detect_encoding(body)
    try:
        name = codecs.lookup(charset or "utf-8").name
        text = body.decode("utf-8" if name in _NO_CHARSETS else name, "replace")
    except (LookupError, ValueError):  # unknown, no encoding of text, or one that raises in spite of "replace"
        text = body.decode("utf-8", "replace")
    return storable(text)


def storable(text: str) -> str:
    """The text without what Postgres cannot hold."""
    return _UNSTORABLE.sub("\ufffd", text)


def json_of(text: str) -> Any:
    """The text parsed; None if it is no JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_number)
    except (ValueError, RecursionError):
        return None
    return None if _is_deep(value) else _clean(value) if _ESCAPED.search(text) else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _number(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            each
            for found in level
            if isinstance(found, (dict, list))
            for each in (found.values() if isinstance(found, dict) else found)
        ]
        if not level:
            return False
    return True


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {storable(key): _clean(each) for key, each in value.items()}
    return value
