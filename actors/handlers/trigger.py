"""trigger: where an execution starts. Output: the execution's input, unchanged.

The driver takes the input as this node's output and never sends the node to a runner; the function is here so that the
type is known, its config is checked, and it can be called like any other.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from actors.context import NodeContext
from actors.registry import NodeConfig, handler

_NAMES = "mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_ITEM = rf"(?:\*|(?:\d{{1,2}}|{_NAMES})(?:-(?:\d{{1,2}}|{_NAMES}))?)(?:/\d{{1,2}})?"
_CRON_FIELD = re.compile(rf"{_ITEM}(?:,{_ITEM})*", re.IGNORECASE)


class TriggerConfig(NodeConfig):
    """cron_expression: five fields, needed for trigger_type "schedule". webhook_method: for "webhook"."""

    trigger_type: Literal["manual", "webhook", "schedule"] = "manual"
    cron_expression: str = Field(default="", validate_default=True)
    webhook_method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"

    @field_validator("cron_expression")
    @classmethod
    def _five_fields(cls, cron: str, info: ValidationInfo) -> str:
        fields = cron.split()
        if not fields and info.data.get("trigger_type") != "schedule":
            return ""
        if len(fields) != 5 or not all(map(_CRON_FIELD.fullmatch, fields)):
            raise ValueError(f'{cron!r} is no cron expression: write five fields, such as "*/5 * * * *"')
        return cron


@handler("trigger", config=TriggerConfig)
def trigger(config: TriggerConfig, ctx: NodeContext) -> Any:
    return ctx.evaluate("input")
