"""break: ends a loop, as if its last turn were over. continue: ends this turn of it.

What else of the turn still runs is cancelled. The driver does both without a runner; the function is here so that the
types are known and their configs checked. Output: null.
"""

from __future__ import annotations

from dray.actors.context import NodeContext
from dray.actors.registry import NodeConfig, handler


class LeaveConfig(NodeConfig):
    """loop_label: of the loop that is meant, or its node's id; the innermost one where it is not given."""

    loop_label: str = ""


@handler("break", config=LeaveConfig)
@handler("continue", config=LeaveConfig)
def leave(config: LeaveConfig, ctx: NodeContext) -> None:
    return None
