"""What a shell is told when somebody types a part of a command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("typed", "told"),
    [("dray exec", ["executions"]), ("dray check", ["check-history"]), ("dray executions s", ["show"])],
)
def test_a_command_is_completed(typed: str, told: list[str]) -> None:
    asked = {"_DRAY_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run(
        [sys.executable, "-m", "dray"], env={**os.environ, **asked}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == told
