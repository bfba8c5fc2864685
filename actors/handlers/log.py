"""log: a line in the log of the runner, with the execution, the node and the attempt.

Output: {"logged": true, "message", "level"}. The line is written once per attempt, and not kept with the execution: it
is where the runner's other lines are.
"""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dray.actors.context import NodeContext
from dray.actors.expressions.config import as_text
from dray.actors.outside.environment import hide
from dray.actors.registry import NodeConfig, handler

MAX_LINE = 8_000  # characters
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_lower = BeforeValidator(
    lambda value: {"warn": "warning"}.get(value.lower(), value.lower()) if isinstance(value, str) else value
)


class LogConfig(NodeConfig):
    """message: a text, anything else is written as JSON. fields: by name, beside it."""

    message: Any
    level: Annotated[Literal["debug", "info", "warning", "error"], _lower] = "info"
    fields: dict[str, Any] = Field(default_factory=dict)


@handler("log", config=LogConfig)
async def log(config: LogConfig, ctx: NodeContext) -> dict[str, Any]:
    message = as_text(config.message)
    fields = {name: value for name, value in config.fields.items() if value is not None}
    shown = f"{message}  {json.dumps(fields, ensure_ascii=False)}" if fields else message
    # One line: a value with a line break in it must not look like a line of its own.
    ctx.log.log(_LEVELS[config.level], "%s", hide(" ".join(shown.splitlines())[:MAX_LINE]))
    return {"logged": True, "message": message, "level": config.level}
