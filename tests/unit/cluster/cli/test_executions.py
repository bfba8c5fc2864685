"""dray executions show: what is told of an attempt that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from dray.cluster.cli import executions
from dray.store.client.client import Attempt, Execution

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRACE = 'Traceback (most recent call last):\n  File "shop.py", line 7, in charge\nValueError: no \x1b[2J'


def attempt(number: int, kind: str, outcome: Any) -> Attempt:
    return Attempt("charge", number, kind, None, outcome, NOW, 5, None, "r1", "n1", "h", 7)


class Fake:
    def get(self, execution: str) -> Execution:
        return Execution(execution, "orders", 1, "completed", 5, "default", NOW, NOW, NOW, NOW, None, 1, 0, None, None)

    def attempts(self, execution: str) -> list[Attempt]:
        error = {"type": "ValueError", "message": "no", "node": "charge"}
        return [
            attempt(1, "retried", {**error, "trace": TRACE}),
            attempt(2, "retried", error),
            attempt(3, "completed", {"type": "x", "trace": "of the user's own"}),
        ]


def test_a_traceback_is_printed_below_the_attempts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def fake() -> Iterator[Fake]:
        yield Fake()

    monkeypatch.setattr(executions, "open_client", fake)
    executions.show("0190")
    table, _, below = capsys.readouterr().out.partition("\ncharge, attempt 1:\n")
    assert below == TRACE.replace("\x1b", "\\u001b") + "\n"
    assert "shop.py" not in table
    assert "of the user's own" in table
