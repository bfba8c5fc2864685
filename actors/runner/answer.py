"""From what a handler answered, or raised, to the NodeResult: whatever it was, something that Postgres can hold.

A value that JSON or Postgres cannot hold is a failure of type "config": the message names the place, and trying again
would not help. An exception becomes its class name and a text, never an object: a class of the user's may not be
picklable, and its text may be huge.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from dray.actors.context import Again, Branch, Wait, WaitForChild, WaitForSignal
from dray.actors.errors import ConfigError, FailedAgain, NodeError
from dray.actors.messages import ChildStart, FailureType, NodeFailure, NodeResult
from dray.actors.outside import environment
from dray.actors.runner.form import one_form

MAX_TEXT = 2_000  # characters of a failure's message
MAX_LABEL = 200  # characters of a branch
_OWN = frozenset(FailureType)
MAX_WAIT = 100 * 366 * 24 * 3600.0  # seconds; far from where a date overflows

_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def answered(number: int, answer: Any, max_bytes: int, duration_ms: int) -> NodeResult:
    """The result of a handler that returned. Raises ConfigError for an answer that cannot be stored."""
    branch = wait = None
    if isinstance(answer, (WaitForSignal, WaitForChild, Again)):
        return _waiting(number, answer, max_bytes, duration_ms)
    if isinstance(answer, Branch):
        branch, answer = _label(answer.label), answer.output
    elif isinstance(answer, Wait):
        wait, answer = min(float(answer.seconds), MAX_WAIT), answer.output
    return NodeResult(number, json_text(answer, max_bytes), branch, None, wait, duration_ms)


def _waiting(number: int, answer: WaitForSignal | WaitForChild | Again, max_bytes: int, duration_ms: int) -> NodeResult:
    awaits: dict[str, Any] = {} if answer.state is None else {"state": answer.state}
    seconds = answer.seconds if isinstance(answer, Again) else answer.timeout
    child = None
    if isinstance(answer, WaitForSignal):
        awaits["signal"] = _label(answer.name, "a signal's name")
    elif isinstance(answer, WaitForChild):
        awaits["child"] = answer.id
        version = answer.version
        if version is not None and (type(version) is not int or not 0 < version < 1 << 31):
            raise ConfigError(f"a version is a number from 1 on, not {version!r:.80}")
        given = json_text(answer.input, max_bytes, "the child's input")
        child = ChildStart(answer.id, _label(answer.workflow, "a workflow's name"), version, given)
        if not answer.wait:
            return NodeResult(number, json_text(answer.output, max_bytes), duration_ms=duration_ms, child=child)
    wait = None if seconds is None else min(float(seconds), MAX_WAIT)
    text = json_text(awaits, max_bytes, "what the handler keeps while it waits")
    return NodeResult(number, wait=wait, duration_ms=duration_ms, awaits=text, child=child)


def json_text(value: Any, max_bytes: int, what: str = "the output") -> str:
    """The value as JSON text, in the form of form.py. Raises ConfigError that names the place of what JSON or Postgres
    cannot hold."""
    if value is None:
        return "null"
    try:
        text = _encoded(value)
        size = len(text) if text.isascii() else len(text.encode())
    except RecursionError:
        raise ConfigError(f"{what} is nested too deeply for JSON: make it flatter") from None
    except Exception as error:  # noqa: BLE001  # a subclass of dict or list may raise anything
        raise ConfigError(_why_not(value) or f"{what} is no JSON: {one_text(error)}") from None
    if "\\u0000" in text and (problem := _why_not(value)):  # else it is a backslash, and u0000
        raise ConfigError(problem)
    if size > max_bytes:
        raise ConfigError(
            f"{what} has {size} bytes, at most {max_bytes} are stored: return less, "
            "or store it elsewhere and return where it is"
        )
    hidden = environment.hide_in_json(text)
    return text if hidden is text else _to_json(one_form(json.loads(hidden)))


def _encoded(value: Any) -> str:
    try:
        formed = one_form(value)
    except RecursionError:
        _to_json(value)  # it says whether the value is inside itself
        raise
    return _to_json(formed)


def _label(label: Any, what: str = "a branch's label") -> str:
    if not isinstance(label, str) or not 0 < len(label) <= MAX_LABEL:
        raise ConfigError(f"{what} is a text of 1 to {MAX_LABEL} characters, not {label!r:.80}")
    if problem := _text_problem(label, what):
        raise ConfigError(problem)
    return str.__str__(label)  # of a subclass too: an Enum's own str() is another text


def _why_not(value: Any) -> str | None:
    try:
        return _problem(value, "output")
    except Exception:  # noqa: BLE001  # nested too deeply, or a class of the user's: the encoder's error must do
        return None


def _problem(value: Any, place: str) -> str | None:
    """What JSON or Postgres cannot hold, the first of it."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _text_problem(value, place)
    if isinstance(value, int):
        return f"{place} is a number of more than 4000 digits: make it a text" if value.bit_length() > 13_300 else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{place} is {value}, which JSON cannot hold: make it null or a text"
    if isinstance(value, dict):
        for key, item in value.items():
            if not (key is None or isinstance(key, (str, int, float))):
                return f"a key of {place} is a {type(key).__name__}: JSON needs a text"
            if problem := _problem(key, f"a key of {place}") or _problem(item, f"{place}.{str(key)[:60]}"):
                return problem
        return None
    if isinstance(value, (list, tuple)):
        found = (_problem(item, f"{place}[{index}]") for index, item in enumerate(value))
        return next((problem for problem in found if problem), None)
    return f"{place} is a {type(value).__name__}, which JSON cannot hold: make it a text, a number, a list or a dict"


def _text_problem(text: str, place: str) -> str | None:
    if "\0" in text:
        return f"{place} contains the character NUL, which Postgres cannot hold: remove it"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (
            f"{place} contains half of a surrogate pair (U+{ord(text[error.start]):04X}), which is no text: remove it"
        )
    return None


# Failures


def failed(number: int, failure: NodeFailure, duration_ms: int = 0) -> NodeResult:
    return NodeResult(number, failure=failure, duration_ms=duration_ms)


def failure_of(error: BaseException) -> NodeFailure:
    """Any exception as a failure. A ConfigError has the type "config", all others the name of their class, or that of
    the failure which they hand on."""
    if isinstance(error, ConfigError):
        return NodeFailure(FailureType.CONFIG, one_text(error), retryable=False)
    if isinstance(error, FailedAgain):
        node = None if error.node is None else clean(error.node, 200)
        return NodeFailure(clean(error.type, 200), one_text(error), retryable=False, node=node)
    name = _type_name(type(error))
    if isinstance(error, NodeError):
        retryable = bool(getattr(error, "retryable", True))
        return NodeFailure(name, one_text(error), retryable, _seconds(getattr(error, "retry_after", None)))
    return NodeFailure(name, one_text(error) + _where(error.__traceback__), retryable=True)


def _type_name(kind: type[BaseException]) -> str:
    """A class whose name is one of Dray's own types must not pass for it: `module.name`, and no type of ours has a
    dot."""
    name = clean(kind.__name__, 200)
    return clean(f"{kind.__module__}.{name}", 200) if name in _OWN else name


def one_text(error: BaseException) -> str:
    """The message of an exception, cut, without what Postgres cannot hold."""
    try:
        text = str(error)
    except BaseException as worse:  # noqa: BLE001  # its __str__ is the user's too
        text = f"(its text cannot be had: {type(worse).__name__})"
    return clean(environment.hide(text) or f"{type(error).__name__} without a message")


def _seconds(wanted: Any) -> float | None:
    is_some = isinstance(wanted, (int, float)) and math.isfinite(wanted) and wanted > 0
    return min(float(wanted), MAX_WAIT) if is_some else None


def clean(text: str, limit: int = MAX_TEXT) -> str:
    cut = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return cut.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _where(traceback: TracebackType | None) -> str:
    """File and line in the handler's own file where it went wrong: its innermost frame there."""
    here = traceback
    while here is not None and here.tb_frame.f_globals.get("__name__") == "dray.actors.runner.call":
        here = here.tb_next
    if here is None:
        return ""
    file, line = here.tb_frame.f_code.co_filename, here.tb_lineno
    while here is not None:
        if here.tb_frame.f_code.co_filename == file:
            line = here.tb_lineno
        here = here.tb_next
    return f" ({clean(Path(file).name, 80)}, line {line})"
