"""Values as JSON that Postgres can keep: what handlers return, and what programs submit; text that a terminal can show.

Plain values are encoded as they are, and pay for nothing else. Whatever pydantic can turn into JSON is turned into it:
models, dataclasses, datetime, date, timedelta, UUID, Enum, set, tuple, Path; Decimal becomes a text, bytes base64 in
the alphabet for URLs. What is left is refused, with its place.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

DEEPEST = 200  # lists and objects in each other: expressions and the database go through them by recursion
_DIGITS = 13_300  # bits of a whole number of 4,000 digits; Python itself reads back few more
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CONTROLS_IN_LINES = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class NotPlain(Exception):
    """Why a value cannot be kept as JSON; names the place."""


class Encoder:
    """refused: classes whose objects are no values, though pydantic would take them for some. form: brings a value to
    another form before it is encoded; it leaves what JSON cannot hold as it is."""

    def __init__(self, refused: tuple[type, ...] = (), form: Callable[[Any], Any] = lambda value: value) -> None:
        self._refused = refused
        self._form = form
        self._encode = json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda value: form(self._plain(value))
        ).encode

    def text(self, value: Any, what: str, place: str) -> str:
        """The value as JSON text. what: it, in a message about the whole; place: about a part. Raises NotPlain."""
        if value is None:
            return "null"
        try:
            try:
                text = self._encode(self._form(value))
            except TypeError:  # of a key, or of what is no value
                text = self._encode(self._form(self._with_text_keys(value)))
            if not text.isascii():
                text.encode()
        except RecursionError:
            if self._is_in_itself(value):
                raise NotPlain(f"{what} is no JSON: Circular reference detected") from None
            raise NotPlain(f"{what} is nested too deeply for JSON: make it flatter") from None
        except Exception as error:  # noqa: BLE001  # a subclass of dict or list may raise anything
            raise NotPlain(self._why_not(value, place) or f"{what} is no JSON: {_said(error)}") from None
        if "\\u0000" in text and (problem := self._why_not(value, place)):  # else it is a backslash, and u0000
            raise NotPlain(problem)
        return text

    def _is_in_itself(self, value: Any) -> bool:
        try:
            self._encode(value)
        except ValueError:
            return True
        except Exception:  # noqa: BLE001
            return False
        return False

    def _plain(self, value: Any) -> Any:
        """What pydantic makes of it, or of its outermost part. Raises TypeError."""
        if isinstance(value, (*self._refused, Iterator)):
            raise TypeError(f"a {type(value).__name__} is no value")
        if dataclasses.is_dataclass(value) and not hasattr(value, "__pydantic_serializer__"):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, Set):
            try:
                return sorted(value)  # the same list each time, where that can be had
            except TypeError:
                return list(value)
        if hasattr(value, "model_dump") and not isinstance(value, type):
            try:
                return value.model_dump(mode="json")
            except ValueError:  # bytes that are no text, for one: then each part by itself
                return value.model_dump()
        from pydantic_core import to_jsonable_python  # here: plain values do without

        return to_jsonable_python(value, by_alias=False, bytes_mode="base64")

    def _with_text_keys(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {self._key(key): self._with_text_keys(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._with_text_keys(item) for item in value]
        if value is None or isinstance(value, (str, int, float)):
            return value
        return self._with_text_keys(self._plain(value))

    def _key(self, key: Any) -> Any:
        if key is None or isinstance(key, (str, int, float)):
            return key
        found = key if isinstance(key, tuple) else self._plain(key)
        if not isinstance(found, (str, int, float)):
            raise TypeError(f"a {type(key).__name__} is no key")
        return found

    # Why not

    def _why_not(self, value: Any, place: str) -> str | None:
        try:
            return self._problem(value, place)
        except Exception:  # noqa: BLE001  # nested too deeply, or a class of the user's: the encoder's error must do
            return None

    def _problem(self, value: Any, place: str) -> str | None:
        """What JSON or Postgres cannot hold, the first of it."""
        if value is None or isinstance(value, bool):
            return None
        if isinstance(value, str):
            return text_problem(value, place)
        if isinstance(value, int):
            is_long = value.bit_length() > _DIGITS
            return f"{place} is a number of more than 4000 digits: make it a text" if is_long else None
        if isinstance(value, float):
            said = f"{place} is {value}, which JSON cannot hold: make it null or a text"
            return None if math.isfinite(value) else said
        if isinstance(value, Mapping):
            return self._problem_of_items(value, place)
        if isinstance(value, (list, tuple)):
            found = (self._problem(item, f"{place}[{index}]") for index, item in enumerate(value))
            return next((problem for problem in found if problem), None)
        try:
            plain = self._plain(value)
        except Exception:  # noqa: BLE001  # a serializer of the user's
            parts = getattr(value, "__dict__", None) if hasattr(value, "model_dump") else None
            said = (
                f"{place} is a {type(value).__name__}, which JSON cannot hold: "
                "make it a text, a number, a list or a dict"
            )
            return (self._problem(parts, place) if parts else None) or said
        return self._problem(plain, place)

    def _problem_of_items(self, value: Mapping[Any, Any], place: str) -> str | None:
        for key, item in value.items():
            try:
                name = self._key(key)
            except Exception:  # noqa: BLE001
                return f"a key of {place} is a {type(key).__name__}: JSON needs a text"
            said = self._problem(name, f"a key of {place}") or self._problem(item, f"{place}.{str(name)[:60]}")
            if said:
                return said
        return None


def _said(error: Exception) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001  # its __str__ is the user's
        return type(error).__name__


def text_problem(text: str, place: str) -> str | None:
    if "\0" in text:
        return f"{place} contains the character NUL, which Postgres cannot hold: remove it"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (
            f"{place} contains half of a surrogate pair (U+{ord(text[error.start]):04X}), which is no text: remove it"
        )
    return None


def too_deep(value: Any, place: str) -> str | None:
    """Where lists and dicts are nested deeper than DEEPEST; None: nowhere. May be asked of anything."""
    stack: list[tuple[Any, int, str]] = [(value, 1, place)]
    seen = 0
    while stack and seen < 1_000_000:  # else it contains itself, which the encoder tells
        item, depth, where = stack.pop()
        seen += 1
        if not isinstance(item, (dict, list, tuple)):
            continue
        if depth > DEEPEST:
            short = where if len(where) <= 80 else f"{where[:40]}...{where[-30:]}"
            return f"{short} is nested more than {DEEPEST} deep: make it flatter"
        items = item.items() if isinstance(item, dict) else enumerate(item)
        for key, each in items:
            if isinstance(each, (dict, list, tuple)):
                stack.append(
                    (each, depth + 1, f"{where}[{key}]" if isinstance(key, int) else f"{where}.{str(key)[:60]}")
                )
    return None


def visible(text: str, lines: bool = False) -> str:
    """The text with its control characters escaped as in JSON: ESC, C1 and those that turn the writing direction may
    make a terminal do or show anything, and a line break begins a line of a log. lines: it may have several."""
    found = _CONTROLS_IN_LINES if lines else _CONTROLS
    return text if text.isascii() and text.isprintable() else found.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
