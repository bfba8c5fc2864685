"""What services answer and scripts print, whatever its form, is something that can be stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dray.actors.outside.foreign import DEEPEST, json_of, text_of


@pytest.mark.parametrize(
    ("body", "charset", "is_json", "text"),
    [
        (b'\xef\xbb\xbf{"a": 1}', None, False, '{"a": 1}'),
        ("ü".encode("utf-16"), None, False, "ü"),
        ('{"a": "ü"}'.encode("utf-16-be"), None, True, '{"a": "ü"}'),
        ('{"a": "ü"}'.encode("utf-32-le"), None, True, '{"a": "ü"}'),
        ("ü".encode("utf-16-le"), "utf-16-le", False, "ü"),
        ("ü".encode("latin-1"), "iso-8859-1", False, "ü"),
        ("ü".encode(), "latin-1", False, "Ã¼"),
        (b"\xef\xbb\xbf\xc3\xbc", "latin-1", False, "ü"),  # what the bytes say counts
        *(
            (b"a..b\xff", charset, False, "a..b\ufffd")
            for charset in ("idna", "punycode", "undefined", "base64", "no\0", "?")
        ),
        (b"+2AA-", "utf-7", False, "+2AA-"),
        (b"a\0b", None, False, "a\ufffdb"),
    ],
)
def test_any_bytes_are_text(body: bytes, charset: str | None, is_json: bool, text: str) -> None:
    assert text_of(body, charset, is_json) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"a\u0000": ["x\u0000y"]}', {"a\ufffd": ["x\ufffdy"]}),
        (r'["\ud800", "\uDFFFx", "\ud83d\ude00"]', ["\ufffd", "\ufffdx", "\U0001f600"]),
        (r'["\\u0000"]', [r"\u0000"]),
        ("[1e999, -1e999, 1e308]", [None, None, 1e308]),
        ("1e999", None),
        ("NaN", None),
        ('{"a": Infinity}', None),
        ("[" * 5_000 + "]" * 5_000, None),
        ("[" * 900 + "]" * 900, None),
        ("9" * 5_000, None),
        ("", None),
        ("{", None),
    ],
)
def test_any_text_is_json_that_can_be_stored(text: str, value: Any) -> None:
    found = json_of(text)
    assert found == value
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()


def test_what_is_nested_as_deep_as_may_be_is_kept() -> None:
    text = "[" * DEEPEST + "1" + "]" * DEEPEST
    assert json.dumps(json_of(text)) == text
    assert json_of(f"[{text}]") is None
