"""The node type of the benchmarks: does nothing, and answers about 100 bytes of JSON."""

from __future__ import annotations

from typing import Any

from dray.actors.context import NodeContext
from dray.actors.registry import handler

OUTCOME = {"value": "x" * 80, "ok": True}


@handler("noop")
def noop(config: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:  # noqa: ARG001
    return OUTCOME
