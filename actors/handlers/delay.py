"""delay, wait: the node is done after some seconds; the execution parks meanwhile. A delay of 0 is done at once.

Output: {"delay_type": "seconds", "completed": true}.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from actors.context import NodeContext, Wait
from actors.registry import NodeConfig, handler

YEAR = 366 * 24 * 3600.0


class DelayConfig(NodeConfig):
    """delay_seconds: 0 to one year, default 1."""

    delay_type: Literal["seconds"] = "seconds"
    delay_seconds: float = Field(default=1.0, ge=0, le=YEAR, allow_inf_nan=False)

    @field_validator("delay_type", mode="before")
    @classmethod
    def _seconds_only(cls, delay_type: object) -> object:
        if delay_type in ("until_time", "until_condition"):
            raise ValueError(f'{delay_type!r} is not supported yet: use "seconds" and delay_seconds')
        return delay_type


@handler("delay", config=DelayConfig)
@handler("wait", config=DelayConfig)
def delay(config: DelayConfig, ctx: NodeContext) -> Wait:
    return Wait(config.delay_seconds, {"delay_type": config.delay_type, "completed": True})
