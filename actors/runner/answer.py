"""From what a handler answered, or raised, to the NodeResult: whatever it was, something that Postgres can hold.

A value that JSON or Postgres cannot hold is a failure of type "config": the message names the place, and trying again
would not help. An exception becomes its class name and a text, never an object: a class of the user's may not be
picklable, and its text may be huge.
"""

from __future__ import annotations

import json
import math
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from dray.actors.context import Again, Branch, Wait, WaitForChild, WaitForSignal
from dray.actors.errors import ConfigError, FailedAgain, NodeError, TimedOut, WaitTimedOut
from dray.actors.messages import ChildStart, FailureType, NodeFailure, NodeResult
from dray.actors.outside import environment
from dray.actors.runner.form import one_form
from dray.plain import Encoder, NotPlain, text_problem

MAX_TEXT = 2_000  # characters of a failure's message
MAX_LABEL = 200  # characters of a branch
MAX_TRACE = 8 << 10  # bytes of a traceback
_OWN = frozenset(FailureType) | {WaitTimedOut.__name__}
MAX_WAIT = 100 * 366 * 24 * 3600.0  # seconds; far from where a date overflows

_encoder = Encoder(refused=(Again, Branch, Wait, WaitForChild, WaitForSignal), form=one_form)  # an answer in an answer
_OURS = str(Path(__file__).parents[1])  # what the built-in handlers raise says itself what to do


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
    text = _text(value, what)
    size = len(text) if text.isascii() else len(text.encode())
    if size > max_bytes:
        raise ConfigError(
            f"{what} has {size} bytes, at most {max_bytes} are stored (DRAY_MAX_OUTPUT_BYTES): return less, "
            "or store it elsewhere and return where it is"
        )
    hidden = environment.hide_in_json(text)
    return text if hidden is text else _text(json.loads(hidden), what)


def _text(value: Any, what: str) -> str:
    try:
        return _encoder.text(value, what, "output")
    except NotPlain as error:
        raise ConfigError(clean(environment.hide(str(error)))) from None


def _label(label: Any, what: str = "a branch's label") -> str:
    if not isinstance(label, str) or not 0 < len(label) <= MAX_LABEL:
        raise ConfigError(f"{what} is a text of 1 to {MAX_LABEL} characters, not {label!r:.80}")
    if problem := text_problem(label, what):
        raise ConfigError(problem)
    return str.__str__(label)  # of a subclass too: an Enum's own str() is another text


# Failures


def failed(number: int, failure: NodeFailure, duration_ms: int = 0) -> NodeResult:
    return NodeResult(number, failure=failure, duration_ms=duration_ms)


def failure_of(error: BaseException) -> NodeFailure:
    """Any exception as a failure. A ConfigError has the type "config", a TimedOut "timeout", all others the name of
    their class, or that of the failure which they hand on."""
    if isinstance(error, ConfigError):
        return NodeFailure(FailureType.CONFIG, one_text(error), retryable=False, trace=trace_of(error))
    if isinstance(error, FailedAgain):
        node = None if error.node is None else clean(error.node, 200)
        return NodeFailure(clean(error.type, 200), one_text(error), retryable=False, node=node)
    name = FailureType.TIMEOUT if isinstance(error, TimedOut) else _type_name(type(error))
    trace = trace_of(error)
    if isinstance(error, NodeError):
        retryable, after = bool(getattr(error, "retryable", True)), _seconds(getattr(error, "retry_after", None))
        return NodeFailure(name, one_text(error), retryable, after, trace=trace)
    return NodeFailure(name, one_text(error) + _where(error.__traceback__), retryable=True, trace=trace)


def trace_of(error: BaseException) -> str | None:
    """The whole traceback with its causes, without the frames of the runner; of a long one the end. None for what
    Dray's own handlers say of their config and of services."""
    inside = _inside(error.__traceback__)
    if isinstance(error, NodeError) and all(
        frame.f_code.co_filename.startswith(_OURS) for frame, _ in traceback.walk_tb(inside)
    ):
        return None
    try:
        told = traceback.TracebackException(type(error), error, inside, compact=True)
        text = environment.hide("".join(told.format())).rstrip("\n")
    except BaseException:  # noqa: BLE001  # what is told is the user's, and may raise
        return None
    kept = clean(text, len(text)).encode()
    if len(kept) > MAX_TRACE:
        kept = b"..." + kept[3 - MAX_TRACE :]
    return kept.decode("utf-8", "ignore")


def _type_name(kind: type[BaseException]) -> str:
    """A class whose name is one of Dray's own types must not pass for it: `module.name`, and no type of ours has a
    dot."""
    name = clean(kind.__name__, 200)
    return clean(f"{kind.__module__}.{name}", 200) if name in _OWN and kind is not WaitTimedOut else name


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


def _inside(found: TracebackType | None) -> TracebackType | None:
    """Without the frames of the runner around the handler."""
    while found is not None and found.tb_frame.f_globals.get("__name__") == "dray.actors.runner.call":
        found = found.tb_next
    return found


def _where(found: TracebackType | None) -> str:
    """File and line in the handler's own file where it went wrong: its innermost frame there."""
    here = _inside(found)
    if here is None:
        return ""
    file, line = here.tb_frame.f_code.co_filename, here.tb_lineno
    while here is not None:
        if here.tb_frame.f_code.co_filename == file:
            line = here.tb_lineno
        here = here.tb_next
    return f" ({clean(Path(file).name, 80)}, line {line})"
