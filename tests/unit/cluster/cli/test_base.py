"""Exit codes, options that take JSON, and what a cell of a table shows."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import dray.actors.errors
import dray.cluster.errors
import dray.store.errors
from dray.cluster.cli import base
from dray.cluster.cli.base import Exit, Stop, code_of
from dray.cluster.dev import FILE, running_on

FOLDERS = (dray.actors.errors, dray.cluster.errors, dray.store.errors)
ERRORS = [found for module in FOLDERS for found in vars(module).values() if isinstance(found, type)]


@pytest.mark.parametrize(
    "kind",
    [each for each in ERRORS if issubclass(each, Exception) and each.__module__ in [m.__name__ for m in FOLDERS]],
)
def test_every_error_of_ours_has_an_exit_code(kind: type[Exception]) -> None:
    assert code_of(kind.__new__(kind)) is not None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (dray.store.errors.Unavailable("x"), Exit.DATABASE),
        (dray.store.errors.SchemaMissing("x"), Exit.DATABASE),
        (dray.store.errors.DataRefused("x"), Exit.USAGE),
        (dray.store.errors.DatabaseURLInvalid("x"), Exit.USAGE),
        (dray.store.errors.EmbeddedBusy("/d", 1), Exit.NO_START),
        (dray.cluster.errors.RayUnavailable("auto", "x"), Exit.NO_START),
        (dray.cluster.errors.SettingsInvalid(["x"]), Exit.USAGE),
        (dray.actors.errors.HandlerLoadError("m", "x"), Exit.USAGE),
        (Stop("x", Exit.FAILED), Exit.FAILED),
    ],
)
def test_the_nearest_kind_decides(error: Exception, code: Exit) -> None:
    assert code_of(error) is code


def test_a_bug_of_ours_has_none() -> None:
    assert code_of(KeyError("x")) is None


def test_a_complaint_holds_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    base.complain("bad: postgres://u:s3cret@h/d")
    assert capsys.readouterr().err == "dray: bad: postgres://u:***@h/d\n"


def test_json_comes_from_the_option_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.json").write_text("[1]")
    monkeypatch.setattr(sys, "stdin", io.StringIO("[2]"))
    assert base.json_value('{"a": 0}', "--input") == {"a": 0}
    assert base.json_value(f"@{tmp_path / 'in.json'}", "--input") == [1]
    assert base.json_value("-", "--input") == [2]
    with pytest.raises(Stop, match="--input is not JSON"):
        base.json_value("{", "--input")


def test_labels_are_pairs() -> None:
    assert base.labels_of([]) is None
    assert base.labels_of(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in ("a", "=1"):
        with pytest.raises(Stop, match="write name=value"):
            base.labels_of([wrong])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        (("a", "b"), "a,b"),
        (True, "yes"),
        (3600.0, "3600"),
        ({"a": 1}, '{"a": 1}'),
        ("two\nlines", "two lines"),
        (0, "0"),
    ],
)
def test_a_cell_is_one_line(value: Any, text: str) -> None:
    assert base.shown(value) == text


def test_a_time_is_shown_as_on_the_wall() -> None:
    assert len(base.shown(datetime(2026, 1, 1, tzinfo=UTC))) == len("2026-01-01 00:00:00")


def test_a_table_in_a_pipe_is_lines_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    base.put_table("", ("a", "b"), [(1, "x\ty"), (None, "z")])
    assert capsys.readouterr().out == "a\tb\n1\tx y\n-\tz\n"


@pytest.mark.parametrize(
    "note", ["", "{", "[]", "{}", '{"database_url": "mysql://h"}', '{"database_url": "postgres://@/d?host=/nowhere"}']
)
def test_a_note_that_a_dead_dev_left_is_not_believed(tmp_path: Path, note: str) -> None:
    (tmp_path / FILE).write_text(note)
    assert running_on(tmp_path) is None
    assert running_on(tmp_path / "none") is None


def test_control_characters_are_shown_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    rogue = "a\x1b]0;b\x07\x9bc\x7f\u202ed"
    shown = "a\\u001b]0;b\\u0007\\u009bc\\u007f\\u202ed"
    base.put_table("", ("x",), [(rogue,)])
    assert capsys.readouterr().out == f"x\n{shown}\n"
    base.put(f"{rogue}\n\tmore")
    assert capsys.readouterr().out == f"{shown}\n\tmore\n"
    base.put_json({"x": rogue})
    out = capsys.readouterr().out
    assert json.loads(out) == {"x": rogue}
    assert not set(out) & set("\x1b\x07\x9b\x7f\u202e")
    base.complain(rogue)
    assert capsys.readouterr().err == f"dray: {shown}\n"


def test_a_time_that_no_zone_can_show_is_told_as_it_is() -> None:
    assert base.shown(datetime.max.replace(tzinfo=UTC)).startswith("9999-12-31")
    assert base.shown("12000-01-01 00:00:00+00") == "12000-01-01 00:00:00+00"
