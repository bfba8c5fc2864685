"""Logs: one line per transition, for people on a terminal, JSON lines elsewhere. On stderr.

    log = logs.get("driver")
    log.info("execution completed", execution=id, workflow=name, seconds=1.2)

    12:00:01.123 INFO  driver    execution completed  execution=0190... workflow=orders seconds=1.2
    {"time": "2026-01-01T12:00:01.123Z", "level": "info", "logger": "driver", "event": "execution completed", ...}

Execution-level lines are INFO, node-level lines DEBUG. What is between the user name and the `@` of anything that looks
like a URL is replaced before a line is written, whoever wrote it. Standard logging underneath: lines of other libraries
from WARNING on come out in the same form.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from typing import IO, Any

from dray.plain import visible

ROOT = "dray"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

# A password may hold an @ as it is, so the last one of the word ends it.
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@\"']*:)\S+@", re.IGNORECASE)
_KEYWORD_PASSWORD = re.compile(r"\b(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'\"&,;]+)", re.IGNORECASE)
_PLAIN = re.compile(r"[^\s\"=\\]+")
# Attributes that NodeContext.log puts on the records of handlers.
_NODE_FIELDS = {"execution_id": "execution", "node_key": "node", "attempt": "attempt"}
_COLOURS = {"DEBUG": "\033[2m", "INFO": "\033[32m", "WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m"}
_RESET = "\033[0m"


class Log:
    """A logger whose lines are an event, which is always the same text, and fields."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def enabled(self, level: int) -> bool:
        """Whether a line of this level would be written: ask before collecting what only the line needs."""
        return self._logger.isEnabledFor(level)

    def debug(self, event: str, **fields: Any) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """error(), with the traceback of the exception being handled."""
        self._write(logging.ERROR, event, fields, with_traceback=True)

    def _write(self, level: int, event: str, fields: dict[str, Any], with_traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, exc_info=with_traceback, extra={"fields": fields})


class Seldom:
    """Says whether a line may be written that would say the same again and again: once in so many seconds for each
    key."""

    def __init__(self, seconds: float = 60.0, most: int = 1_000) -> None:
        self._seconds = seconds
        self._most = most
        self._said: dict[object, float] = {}

    def __call__(self, key: object) -> bool:
        now = time.monotonic()
        if now - self._said.get(key, -self._seconds) < self._seconds:
            return False
        if len(self._said) >= self._most:
            self._said.clear()
        self._said[key] = now
        return True


def get(name: str) -> Log:
    """The log of one part of the program, e.g. "driver"."""
    return Log(logging.getLogger(f"{ROOT}.{name}"))


def setup(level: str = "INFO", form: str = "auto", stream: IO[str] | None = None) -> None:
    """Write this process's logs. form: text, json, or auto = text if the stream is a terminal. stream: default stderr.

    Calling it again changes what the first call set.
    """
    target = sys.stderr if stream is None else stream
    is_terminal = target.isatty()
    as_text = form == "text" or (form == "auto" and is_terminal)
    handler = _Handler(target)
    handler.setFormatter(TextFormatter(colours=is_terminal) if as_text else JsonFormatter())
    root = logging.getLogger()
    for each in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level)


def redact(text: str) -> str:
    """The text without the passwords of the URLs and connection strings in it."""
    return _KEYWORD_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1***@", text))


class _Handler(logging.StreamHandler[IO[str]]):
    """Ours, to be found again."""


class TextFormatter(logging.Formatter):
    def __init__(self, colours: bool = False) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<7}"
        if self._colours:
            level = f"{_COLOURS.get(record.levelname, '')}{level}{_RESET}"
        event = visible(" ".join(record.getMessage().splitlines()))
        fields = " ".join(f"{name}={_shown(value)}" for name, value in _fields(record).items())
        line = f"{at}.{int(record.msecs):03} {level} {_source(record):<10} {event}" + (fields and f"  {fields}")
        if record.exc_info and record.exc_info[0]:
            line = f"{line}\n{visible(self.formatException(record.exc_info), lines=True)}"
        if hasattr(record, "trace"):
            line = f"{line}\n{visible(record.trace, lines=True)}"
        return redact(line)


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": _source(record),
            "event": record.getMessage(),
        }
        line.update({name: _redacted(value) for name, value in _fields(record).items() if name not in line})
        if record.exc_info and record.exc_info[0]:
            line["exception"] = redact(self.formatException(record.exc_info))
        if hasattr(record, "trace"):
            line["exception"] = redact(record.trace)
        line["event"] = redact(line["event"])
        return visible(json.dumps(line, default=_as_text, ensure_ascii=False))


def _source(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{ROOT}.")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: getattr(record, key) for key, name in _NODE_FIELDS.items() if hasattr(record, key)}
    return {**found, **getattr(record, "fields", {})}


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) and text.isprintable() else visible(json.dumps(text, ensure_ascii=False))


def _redacted(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (list, tuple)):
        return [_redacted(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _redacted(each) for key, each in value.items()}
    return value


def _as_text(value: Any) -> str:
    return redact(str(value))
