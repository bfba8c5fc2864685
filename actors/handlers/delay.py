"""delay, wait: the node is done after some seconds, at a time, or once a condition holds. The execution parks.

Output: {"delay_type", "completed": true}. A time that has passed, and a delay of 0, are done at once.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AliasChoices, Field, ValidationInfo, field_validator, model_validator

from dray.actors.context import Again, NodeContext, Wait
from dray.actors.errors import WaitTimedOut
from dray.actors.expressions.config import BareExpression
from dray.actors.registry import NodeConfig, handler

YEAR = 366 * 24 * 3600.0
LOOKS = 10_000  # of an until_condition: each is an attempt that is kept


class DelayConfig(NodeConfig):
    """delay_type says which of the others count.

    seconds: delay_seconds, 0 to one year, default 1. until_time: target_time, ISO 8601; one without a zone is in
    `timezone`, default UTC. until_condition: condition_expression is evaluated every interval_seconds (default 10) for
    at most timeout_seconds (default 3,600); `now` is the time, `elapsed` the seconds since the first look.
    """

    delay_type: Literal["seconds", "until_time", "until_condition"] = "seconds"
    delay_seconds: float = Field(default=1.0, ge=0, le=YEAR, allow_inf_nan=False)
    timezone: str = "UTC"
    target_time: datetime | None = Field(default=None, validation_alias=AliasChoices("target_time", "until_time"))
    condition_expression: Annotated[str, BareExpression("now", "elapsed")] | None = Field(
        default=None, validation_alias=AliasChoices("condition_expression", "condition")
    )
    interval_seconds: float = Field(default=10.0, ge=0.1, le=YEAR, allow_inf_nan=False)
    timeout_seconds: float = Field(default=3_600.0, ge=0, le=YEAR, allow_inf_nan=False)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except Exception:  # noqa: BLE001  # it raises what opening a file of that name does
            raise ValueError(f'{name!r} is no time zone: write one such as "Europe/Berlin"') from None
        return name

    @field_validator("target_time")
    @classmethod
    def _in_zone(cls, at: datetime | None, info: ValidationInfo) -> datetime | None:
        if at is None or at.tzinfo is not None:
            return at
        return at.replace(tzinfo=ZoneInfo(info.data.get("timezone", "UTC")))

    @model_validator(mode="after")
    def _complete(self) -> DelayConfig:
        if self.delay_type == "until_time" and self.target_time is None:
            raise ValueError('"until_time" needs target_time, such as "2030-01-31T08:00:00+01:00"')
        if self.delay_type == "until_condition":
            if self.condition_expression is None:
                raise ValueError('"until_condition" needs condition_expression')
            if self.timeout_seconds > LOOKS * self.interval_seconds:
                raise ValueError(f"more than {LOOKS} looks in timeout_seconds: raise interval_seconds")
        return self


@handler("delay", config=DelayConfig)
@handler("wait", config=DelayConfig)
def delay(config: DelayConfig, ctx: NodeContext) -> Wait | Again:
    done = {"delay_type": config.delay_type, "completed": True}
    if config.delay_type == "seconds":
        return Wait(config.delay_seconds, done)
    if config.target_time is not None and config.delay_type == "until_time":
        return Wait(max(0.0, (config.target_time - datetime.now(UTC)).total_seconds()), done)
    assert config.condition_expression is not None
    since = ctx.state["since"] if ctx.state else time.time()
    elapsed = max(0.0, time.time() - since)
    if ctx.evaluate(config.condition_expression, now=datetime.now(UTC), elapsed=elapsed):
        return Wait(0.0, done)
    if elapsed >= config.timeout_seconds:
        raise WaitTimedOut(
            f"timed out: the condition did not hold within {config.timeout_seconds:g} s: raise timeout_seconds"
        )
    return Again(min(config.interval_seconds, config.timeout_seconds - elapsed), {"since": since})
