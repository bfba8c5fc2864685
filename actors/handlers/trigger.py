"""trigger: where an execution starts. Output: the execution's input, unchanged.

The driver takes the input as this node's output and never sends the node to a runner; the function is here so that the
type is known, its config is checked, and it can be called like any other.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from dray.actors.context import NodeContext
from dray.actors.cron import five_fields
from dray.actors.registry import NodeConfig, handler


class TriggerConfig(NodeConfig):
    """cron_expression: five fields or a name such as @daily, meant in timezone. webhook_method: for "webhook".

    With trigger_type "schedule" the workflow runs by itself: cluster/graph/written/schedule.py.
    """

    trigger_type: Literal["manual", "webhook", "schedule"] = "manual"
    cron_expression: str = Field(default="", validate_default=True)
    timezone: str = "UTC"
    webhook_method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"

    @field_validator("cron_expression")
    @classmethod
    def _readable(cls, cron: str, info: ValidationInfo) -> str:
        if cron.strip() or info.data.get("trigger_type") == "schedule":
            five_fields(cron)
        return cron


@handler("trigger", config=TriggerConfig)
def trigger(config: TriggerConfig, ctx: NodeContext) -> Any:
    return ctx.evaluate("input")
