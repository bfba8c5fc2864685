"""Is a value plain JSON that Postgres can keep? Walked without recursion: it may be deep, huge, or contain itself."""

from __future__ import annotations

import math
from typing import Any

from dray.cluster.errors import Problem

MAX_DEPTH = 100
MAX_VALUES = 5_000_000
MAX_NUMBER_BITS = 1024

# A place in the value: (place of the container, key or index); None is the value itself.
Place = tuple[Any, str | int] | None


def json_problems(value: Any, root: str, max_depth: int = MAX_DEPTH) -> tuple[list[Problem], bool]:
    """What in `value` is not JSON that can be stored, and whether other checks may still look into the value.

    A NaN or a NUL character harms no check, so the rest can be told in the same answer. Foreign objects, keys that are
    not text and bottomless nesting do: no code behind this one expects them. root: what to call the value as a whole.
    """
    problems: list[Problem] = []
    sound = True
    stack: list[tuple[Any, int, Place]] = [(value, 1, None)]
    for _ in range(MAX_VALUES):
        if not stack:
            return problems, sound
        item, depth, place = stack.pop()
        if isinstance(item, (dict, list)):
            if depth > max_depth:
                problems.append(Problem(place_text(place, root), f"nested more than {max_depth} deep: flatten it"))
                return problems, False
            if isinstance(item, list):
                stack += [(each, depth + 1, (place, index)) for index, each in reversed(list(enumerate(item)))]
                continue
            for key in item:
                trouble, harmless = _key_trouble(key)
                if trouble:
                    problems.append(Problem(place_text(place, root), trouble))
                    sound = sound and harmless
            stack += [(each, depth + 1, (place, key)) for key, each in reversed(item.items()) if isinstance(key, str)]
            continue
        trouble, harmless = _scalar_trouble(item)
        if trouble:
            problems.append(Problem(place_text(place, root), trouble))
            sound = sound and harmless
    problems.append(Problem(root, f"holds more than {MAX_VALUES:,} values: split it into several workflows"))
    return problems, False


def place_text(place: Place, root: str) -> str:
    """`nodes[3].config.url`; the root's name for the value itself."""
    parts: list[str] = []
    while place is not None:
        place, key = place
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key}" if key.isidentifier() else f"[{key!r:.80}]")
    return "".join(reversed(parts)).removeprefix(".") or root


def _scalar_trouble(item: Any) -> tuple[str, bool]:
    """What is wrong with a value that holds no others ("" = nothing), and whether it is harmless to look at."""
    if item is None or isinstance(item, bool):
        return "", True
    if isinstance(item, str):
        if not _is_unicode(item):
            return "is not valid Unicode (half of a surrogate pair): write the character whole", False
        return ("has a NUL character, which Postgres cannot store: remove it" if "\0" in item else ""), True
    if isinstance(item, int):
        return (
            ("has more than 300 digits: give it as text", False) if item.bit_length() > MAX_NUMBER_BITS else ("", True)
        )
    if isinstance(item, float):
        return ("", True) if math.isfinite(item) else (f"is {item}, which JSON has not: give null or text", True)
    return f"a {type(item).__name__} is not JSON: give text, a number, true, false, null, a list or an object", False


def _key_trouble(key: Any) -> tuple[str, bool]:
    if not isinstance(key, str):
        return f"a key must be text, not a {type(key).__name__}: put it in quotes", False
    trouble, harmless = _scalar_trouble(key)
    return (f"a key {trouble}" if trouble else ""), harmless


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
