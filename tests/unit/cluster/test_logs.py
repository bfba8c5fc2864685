"""Logs: one line per event, in two forms, without passwords."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from dray.cluster import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root, dray = logging.getLogger(), logging.getLogger(logs.ROOT)
    handlers, levels = root.handlers[:], (root.level, dray.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    dray.setLevel(levels[1])


def test_off_a_terminal_a_line_is_json() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream)
    logs.get("driver").info("execution completed", execution="0190", seconds=1.23456789, nodes=3)
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "driver",
        "event": "execution completed",
        "execution": "0190",
        "seconds": 1.234568,
        "nodes": 3,
    }


def test_on_a_terminal_a_line_is_text() -> None:
    stream = Terminal()
    logs.setup(stream=stream)
    logs.get("driver").warning("claim failed", reason="no answer", host="db")
    assert stream.getvalue().endswith('driver     claim failed  reason="no answer" host=db\n')


def test_the_form_can_be_chosen() -> None:
    stream = Terminal()
    logs.setup(form="json", stream=stream)
    logs.get("driver").info("up")
    assert json.loads(stream.getvalue())["event"] == "up"


def test_below_the_level_nothing_is_written_and_enabled_says_so() -> None:
    stream = io.StringIO()
    logs.setup("INFO", stream=stream)
    log = logs.get("driver")
    log.debug("node completed", node="a")
    assert stream.getvalue() == ""
    assert not log.enabled(logging.DEBUG)
    logs.setup("DEBUG", stream=stream)
    assert log.enabled(logging.DEBUG)


def test_setting_up_twice_does_not_write_twice() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream)
    logs.setup(stream=stream)
    logs.get("driver").info("up")
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_event_is_one_line_whatever_its_fields_hold(form: str) -> None:
    stream = io.StringIO()
    logs.setup(form=form, stream=stream)
    logs.get("driver").error("node failed", message='two\nlines "quoted" = \x00')
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql://user:s3cr@t@db:5432/app",
        "cannot reach postgresql+psycopg2://:s3cr%40t@db/app",
        "bad dsn: host=db password='s3cr t' user=u",
        "bad dsn: password=s3cr%t",
    ],
)
def test_no_password_of_a_url_is_written(form: str, text: str) -> None:
    stream = io.StringIO()
    logs.setup(form=form, stream=stream)
    logs.get("driver").info(text, field=text, nested=[text])
    logging.getLogger("other").error("says %s", text)
    assert "s3cr" not in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_written_without_passwords(form: str) -> None:
    stream = io.StringIO()
    logs.setup(form=form, stream=stream)
    try:
        raise ValueError("postgres://u:s3cret@h/d")
    except ValueError:
        logs.get("driver").exception("unexpected")
    assert "ValueError" in stream.getvalue()
    assert "s3cret" not in stream.getvalue()


def test_lines_of_a_handler_carry_its_execution_and_node() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream)
    extra = {"execution_id": "0190", "node_key": "poll[3]/call", "attempt": 2}
    logging.LoggerAdapter(logging.getLogger("dray.node"), extra).info("sent %d", 3)
    line = json.loads(stream.getvalue())
    assert (line["execution"], line["node"], line["attempt"], line["event"]) == ("0190", "poll[3]/call", 2, "sent 3")


def test_other_libraries_are_heard_from_warning_on() -> None:
    stream = io.StringIO()
    logs.setup("DEBUG", stream=stream)
    logging.getLogger("httpx").info("GET /")
    logging.getLogger("httpx").warning("odd")
    assert [json.loads(line)["logger"] for line in stream.getvalue().splitlines()] == ["httpx"]


ROGUE = "a\x1b[31mb\x9b1mc\nd\u202ee"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "text"])
def test_control_characters_reach_no_terminal(stream: io.StringIO) -> None:
    logs.setup(stream=stream)
    log = logs.get("driver")
    log.warning(f"event {ROGUE}", execution=ROGUE, one="\x1b[0m")
    try:
        raise ValueError(ROGUE)
    except ValueError:
        log.exception("failed")
    logging.getLogger("dray.runner").warning("handler failed", extra={"trace": f"Traceback\n  {ROGUE}"})
    text = stream.getvalue()
    assert "\\u001b[31m" in text
    coloured = text.replace("\x1b[33m", "").replace("\x1b[31mERROR", "").replace("\x1b[0m ", "").replace("\x1b[31m", "")
    assert not set(coloured) & set("\x1b\x9b\u202e")
    assert text.startswith(("{", "0", "1", "2"))
    assert len(text.splitlines()[0]) > 40, "an event is one line"
