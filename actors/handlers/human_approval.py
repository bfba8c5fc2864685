"""human_approval: waits until a person chooses one of the options, and takes the edges with that label.

The answer is the signal "human_input" with the payload {"decision": option, ...} (Client.approve, `dray approvals
answer`), or with the option alone. Output: the payload, with "decision". An answer that is none of the options is told
in the log, and the node goes on waiting.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from pydantic import AliasChoices, Field

from dray.actors.context import Branch, NodeContext, WaitForSignal
from dray.actors.errors import WaitTimedOut
from dray.actors.registry import NodeConfig, handler

SIGNAL = "human_input"
CENTURY = 100 * 366 * 24 * 3600.0


class HumanApprovalConfig(NodeConfig):
    """timeout_seconds: default 3,600. on_timeout: the label that is taken then, "timeout" where an edge has that label;
    else the node fails as WaitTimedOut, for a `failed` edge to catch."""

    approval_message: str = Field(default="", validation_alias=AliasChoices("approval_message", "message"))
    approval_options: list[str] = Field(
        default=["approve", "reject"], min_length=1, validation_alias=AliasChoices("approval_options", "options")
    )
    timeout_seconds: float = Field(default=3_600.0, ge=0, le=CENTURY, allow_inf_nan=False)
    on_timeout: str | None = Field(default=None, min_length=1, max_length=200)


@handler("human_approval", config=HumanApprovalConfig)
def human_approval(config: HumanApprovalConfig, ctx: NodeContext) -> Branch | WaitForSignal:
    if ctx.news is None:
        state = {
            "message": config.approval_message,
            "options": config.approval_options,
            "until": time.time() + config.timeout_seconds,
        }
        return WaitForSignal(SIGNAL, config.timeout_seconds, state)
    if ctx.news.signal is None:
        if config.on_timeout is None:
            raise WaitTimedOut(
                f"timed out: nobody answered within {config.timeout_seconds:g} s: raise timeout_seconds, or draw an "
                "edge `timeout` or `failed`"
            )
        return Branch(config.on_timeout, {"decision": None, "timed_out": True})
    payload = ctx.news.signal.get("payload")
    answer = dict(payload) if isinstance(payload, Mapping) else {"decision": payload}
    decision = answer.get("decision")
    if decision in config.approval_options:
        return Branch(decision, answer)
    ctx.log.warning("answer %.80r is none of %s: still waiting", decision, ", ".join(config.approval_options))
    return WaitForSignal(SIGNAL, max(0.0, ctx.state["until"] - time.time()), ctx.state)
