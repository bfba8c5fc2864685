"""wait_for_signal: the node is done when a signal of that name comes; the execution parks meanwhile.

Output: {"signal": its name, "payload": what came with it}. A signal that came before the node began to wait counts. One
that was sent to another node does not.
"""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, Field

from dray.actors.context import NodeContext, WaitForSignal
from dray.actors.errors import WaitTimedOut
from dray.actors.registry import NodeConfig, handler

CENTURY = 100 * 366 * 24 * 3600.0


class WaitForSignalConfig(NodeConfig):
    """timeout_seconds: default for ever; then the node fails as WaitTimedOut, for a `failed` edge to catch."""

    signal_name: str = Field(
        min_length=1, max_length=200, validation_alias=AliasChoices("signal_name", "signal", "signal_type", "name")
    )
    timeout_seconds: float | None = Field(default=None, ge=0, le=CENTURY, allow_inf_nan=False)


@handler("wait_for_signal", config=WaitForSignalConfig)
def wait_for_signal(config: WaitForSignalConfig, ctx: NodeContext) -> WaitForSignal | dict[str, Any]:
    if ctx.news is None:
        return WaitForSignal(config.signal_name, config.timeout_seconds)
    if ctx.news.signal is None:
        raise WaitTimedOut(
            f"timed out: no signal {config.signal_name!r} came within {config.timeout_seconds:g} s: send it earlier, "
            "raise timeout_seconds, or draw an edge `failed`"
        )
    return {"signal": config.signal_name, "payload": ctx.news.signal.get("payload")}
