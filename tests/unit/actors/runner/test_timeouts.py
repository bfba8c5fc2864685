"""What runs out of time is a `timeout`, whoever looked at the clock, and says so; nothing else passes for one."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError, NodeError, TimedOut, WaitTimedOut
from dray.actors.messages import NodeFailure
from dray.actors.registry import handler
from tests.unit.actors.runner.harness import Harness

SOON = 0.2


@pytest.fixture
def port() -> Iterator[int]:
    """Takes connections and says nothing, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def failure(harness: Harness, node_type: str, config: dict[str, Any], **task: Any) -> NodeFailure:
    found = harness.run(node_type, config, **task).failure
    assert found is not None
    return found


def is_timeout(found: NodeFailure) -> bool:
    return found.type == "timeout" and "timed out" in found.message and found.retryable


@pytest.mark.parametrize(
    ("node_type", "config"),
    [
        ("http_request", {"url": "{url}", "timeout": SOON}),
        ("notification", {"channel": "webhook", "url": "{url}", "message": "x", "timeout": SOON}),
        ("notification", {"channel": "email", "recipient": "a@example.com", "message": "x", "timeout": SOON}),
        ("ai_prompt", {"base_url": "{url}", "model": "m", "prompt": "x", "timeout": SOON}),
        ("code", {"code": "import time; time.sleep(60)", "timeout_seconds": SOON}),
        ("code", {"code": "sleep 60", "language": "bash", "timeout_seconds": SOON}),
    ],
)
def test_a_time_of_its_own(
    harness: Harness, port: int, given: Callable[..., None], node_type: str, config: dict[str, Any]
) -> None:
    given(SMTP_HOST="127.0.0.1", SMTP_PORT=str(port), SMTP_TLS="false", EMAILS_FROM_EMAIL="b@example.com")
    url = f"http://127.0.0.1:{port}/"
    filled = {key: url if value == "{url}" else value for key, value in config.items()}
    assert is_timeout(failure(harness, node_type, filled))


@pytest.mark.parametrize(("node_type", "field"), [("catch", "error_handler"), ("finally", "finally_code")])
def test_the_text_of_a_catch_or_finally(harness: Harness, node_type: str, field: str) -> None:
    error = json.dumps({"type": "NodeError", "message": "no", "node": "work"})
    assert is_timeout(failure(harness, node_type, {field: "import time; time.sleep(60)"}, error=error, timeout=SOON))


def test_a_handler_that_stops_when_it_is_told(harness: Harness) -> None:
    @handler("stops")
    def stops(config: dict[str, Any], ctx: NodeContext) -> None:
        ctx.cancel.wait(20)
        raise NodeError("7 of 9 are done")

    found = failure(harness, "stops", {}, timeout=SOON)
    assert is_timeout(found)
    assert found.message == "timed out: 7 of 9 are done"


def test_it_says_a_config_error_even_when_it_is_late(harness: Harness) -> None:
    @handler("wrong")
    def wrong(config: dict[str, Any], ctx: NodeContext) -> None:
        ctx.cancel.wait(20)
        raise ConfigError("no such table")

    assert failure(harness, "wrong", {}, timeout=SOON).type == "config"


# A catch


def caught(harness: Harness, kind: str, wanted: Any) -> bool:
    error = json.dumps({"type": kind, "message": "x", "node": "work"})
    result = harness.run("catch", {"error_type": wanted}, error=error)
    if result.failure is not None:
        assert result.failure.type == kind, "handed on as it came"
    return result.branch == "caught"


def test_a_catch_of_timeouts(harness: Harness) -> None:
    assert caught(harness, "timeout", "timeout")
    assert caught(harness, "WaitTimedOut", "timeout")
    assert caught(harness, "WaitTimedOut", ["Timeout", "config"])
    assert caught(harness, "WaitTimedOut", "WaitTimedOut")
    assert not caught(harness, "timeout", "WaitTimedOut")
    assert not caught(harness, "NodeError", "timeout")


@pytest.mark.parametrize("name", ["timeout", "WaitTimedOut"])
def test_a_class_of_somebody_elses_is_none(harness: Harness, name: str) -> None:
    @handler("fails")
    def fails(config: dict[str, Any], ctx: NodeContext) -> None:
        raise type(name, (Exception,), {"__module__": "shop.orders"})("no")

    kind = failure(harness, "fails", {}).type
    assert kind == f"shop.orders.{name}"
    assert not caught(harness, kind, "timeout")


@pytest.mark.parametrize(
    ("error", "kind"), [(TimedOut("timed out: x"), "timeout"), (WaitTimedOut("x"), "WaitTimedOut")]
)
def test_drays_own_are(harness: Harness, error: Exception, kind: str) -> None:
    @handler("fails")
    def fails(config: dict[str, Any], ctx: NodeContext) -> None:
        raise error

    assert failure(harness, "fails", {}).type == kind
    assert caught(harness, kind, "timeout")
