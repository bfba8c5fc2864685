"""The forms in which a secret may come back, made by our own code or by a service that was sent it.

As it is, in lower case (a host's name), quoted in JSON or by repr(), percent-encoded as urllib and httpx do it, and in
base64: alone, or in a longer text such as `user:secret` of Basic authentication, where it begins at any of three places
of a group.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

SHORTEST = 6  # characters of what is looked for: a shorter one is found in too much that is no secret

# What httpx leaves as it is, beside letters, digits and -._~ (httpx/_urlparse.py; a test compares).
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_FRAGMENT = "".join(set(_PRINTABLE) - set('"<>`'))
_QUERY = "".join(set(_PRINTABLE) - set('"#<>'))
_PATH = "".join(set(_QUERY) - set("?`{}"))
_USER = "".join(set(_PATH) - set("/:;=@[\\]^|"))
_HOST = "".join(set("!$&'()*+,;=\"`{}%|\\"))


def forms(values: Iterable[str]) -> tuple[str, ...]:
    """What to look for in a text, the longest first."""
    return _ordered(form for value in values for form in _forms(value))


def in_json(found: Iterable[str]) -> tuple[str, ...]:
    """The same for JSON text."""
    return _ordered(quoted(form) for form in found)


def quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _ordered(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({each for each in found if len(each) >= SHORTEST}, key=lambda each: (-len(each), each)))


def _forms(value: str) -> Iterator[str]:
    if len(value) < SHORTEST:
        return
    lower = value.lower()
    yield from (value, lower, quoted(value), json.dumps(value)[1:-1], repr(value)[1:-1])
    yield value.encode("unicode_escape").decode()
    for each in (value, lower):
        yield from (quote(each), quote(each, safe=""), quote_plus(each))
        yield from (quote(each, safe=safe) for safe in (_USER, f"{_USER}:", _HOST))
        yield from (_in_path(each), _in_query(each), quote(each, safe=_FRAGMENT))
    yield from _in_base64(value.encode())


def _in_path(value: str) -> str:
    head, mark, tail = value.partition("?")
    if "#" in head:
        head, mark, tail = value.partition("#")
        return quote(head, safe=_PATH) + mark + quote(tail, safe=_FRAGMENT)
    return quote(head, safe=_PATH) + mark + _in_query(tail)


def _in_query(value: str) -> str:
    head, mark, tail = value.partition("#")
    return quote(head, safe=_QUERY) + mark + quote(tail, safe=_FRAGMENT)


def _in_base64(value: bytes) -> Iterator[str]:
    """Of each alignment the characters that no neighbour has a part in."""
    for before in range(3):
        first, end = -(-8 * before // 6), 8 * (before + len(value)) // 6
        text = base64.b64encode(b"\0" * before + value).decode()[first:end]
        yield text
        yield text.replace("+", "-").replace("/", "_")
