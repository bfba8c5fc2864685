"""Reading a workflow's file: JSON or YAML, and what is wrong with it in one line."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from dray.cluster.graph.files import canonical_graph, parse_json, parse_yaml, read

EXAMPLES = Path(__file__).parents[4] / "examples"


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"nodes": [{"id": "a", "type": "trigger"}]}')
    (tmp_path / "a.yaml").write_text("nodes:\n  - {id: a, type: trigger}\n")
    assert read(str(tmp_path / "a.json")) == read(str(tmp_path / "a.yaml"))


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read(str(tmp_path / "a.json")) == {"a": 1}


def test_minus_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("[1]"))
    assert read("-") == [1]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"{", "a.json is not JSON: "),
        ("a.json", b"", "a.json is not JSON: "),
        ("a.json", b"\xff\xfe", "not UTF-8"),
        ("a.json", b'{"nodes": {"a": 1, "b": 2, "a": 3}}', "the key 'a' is given twice"),
        ("a.json", b"[" * 100_000, "nested too deep"),
        ("a.json", b"1" * 10_000, "a.json: "),
        ("a.yaml", b"a: [", "a.yaml is not YAML: "),
        ("a.yaml", b"a: 1\nb: 2\na: 3\n", "the key 'a' is given twice"),
        ("a.yml", b"a: !!python/object:os.system {}\n", "a.yml is not YAML: "),
        ("a.yml", b"? [1]\n: 2\n", "a.yml is not YAML: "),
        ("a.yml", b"nodes: !!timestamp x", "a.yml is not YAML: cannot be read as tag:yaml.org,2002:timestamp"),
        ("a.yml", b"nodes: 2020-99-99", "line 1, column 8"),
        ("a.yml", b"nodes: !!bool x", "a.yml is not YAML: "),
        ("a.yml", b"nodes: !!set [1]", "a.yml is not YAML: "),
        ("a.yml", b"!!map x", "a.yml is not YAML: "),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot read "):
        read(str(tmp_path / name))


def test_yaml_merge_keys_are_no_repetition() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\n", "text")["b"] == {"x": 1, "y": 2}


def test_a_repeated_key_in_the_input_is_refused() -> None:
    with pytest.raises(ValueError, match="--input: the key 'a' is given twice"):
        parse_json('{"a": 1, "a": 2}', "--input")


@pytest.mark.parametrize("name", ["hello.json", "invoice.yaml", "price_list.json"])
def test_every_example_is_sound(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    assert canonical_graph(read(str(EXAMPLES / name)), ["shop_handlers"])["warnings"] == []
