"""The log of a runner: one line a line, no secret, and what a handler raised."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dray.actors.context import NodeContext
from dray.actors.registry import handler
from dray.actors.runner.log import setup
from tests.unit.actors.runner.harness import Harness


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root, dray = logging.getLogger(), logging.getLogger("dray")
    before = root.handlers[:], root.level, dray.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    dray.setLevel(before[2])


def test_what_a_handler_logs_and_raises_is_told_without_secrets_and_control_characters(
    harness: Harness, given: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    given(MY_TOKEN="never-shown-1")
    setup()

    @handler("rogue")
    def rogue(config: dict[str, Any], ctx: NodeContext) -> None:
        ctx.log.info("paid\n12:00 INFO all is well \x1b[2J never-shown-1")
        raise ValueError("no \x9b never-shown-1")

    assert harness.run("rogue").failure is not None
    text = capsys.readouterr().err
    first, second, *trace = text.splitlines()
    assert "paid\\u000a12:00 INFO all is well \\u001b[2J ***" in first
    assert "handler failed: no \\u009b ***" in second
    assert "node=" in second
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "ValueError: no \\u009b ***"
