"""loop, for, while, repeat, foreach: say how often their body is to run. The body is the driver's (DESIGN: regions).

    for, foreach   {"items": the list}                asked once; foreach runs the items side by side
    repeat         {"count": how often}               asked once
    while          takes "body" or "done"             asked before every turn; a missing key is null in the condition

`loop` is what its loop_type says. The node's own output, when the loop is over, comes from the driver too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, StrictBool, field_validator, model_validator

from dray.actors.context import Branch, NodeContext
from dray.actors.errors import ConfigError
from dray.actors.expressions.config import BareExpression
from dray.actors.registry import NodeConfig, handler

TAKEN = frozenset({"input", "nodes", "vars", "execution", "error", "index"})
NEEDED = {
    "for": "array_expression",
    "foreach": "array_expression",
    "while": "condition_expression",
    "repeat": "repeat_count",
}


class LoopConfig(NodeConfig):
    """array_expression: a list, or an expression that gives one. repeat_count: a number, or an expression.

    loop_variable: what expressions in the body call the item, beside `item`. loop_label: what break and continue call
    this loop. max_iterations: turns beyond which the loop fails; the setting's where it is not given. Of a foreach:
    max_parallel, items at the same time; on_error, collect goes on with the other items and lists the failures.
    """

    loop_type: Literal["for", "while", "repeat", "foreach"] = "for"
    array_expression: Annotated[list[Any] | str | None, BareExpression()] = Field(
        default=None, validation_alias=AliasChoices("array_expression", "items")
    )
    condition_expression: Annotated[StrictBool | str | None, BareExpression()] = Field(
        default=None, validation_alias=AliasChoices("condition_expression", "condition")
    )
    repeat_count: Annotated[int | str | None, BareExpression()] = None
    loop_variable: str = "item"
    loop_label: str = ""
    max_iterations: int | None = Field(default=None, ge=1)
    max_parallel: int = Field(default=20, ge=1, le=1_000)
    on_error: Literal["fail", "collect"] = "fail"

    @field_validator("loop_variable")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not name.isidentifier() or not name.isascii() or name in TAKEN:
            raise ValueError(
                f"{name!r} cannot be the name of an item: letters, digits and _, and none of {_list(TAKEN)}"
            )
        return name

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> LoopConfig:
        if getattr(self, NEEDED[self.loop_type]) in (None, ""):
            raise ValueError(f"a loop of type {self.loop_type!r} needs {NEEDED[self.loop_type]}")
        return self


class ForConfig(LoopConfig):
    # The node's type says it; an editor may have left another loop_type in the config.
    loop_type: Annotated[Literal["for"], BeforeValidator(lambda _: "for")] = "for"


class WhileConfig(LoopConfig):
    loop_type: Annotated[Literal["while"], BeforeValidator(lambda _: "while")] = "while"


class RepeatConfig(LoopConfig):
    loop_type: Annotated[Literal["repeat"], BeforeValidator(lambda _: "repeat")] = "repeat"


class ForeachConfig(LoopConfig):
    loop_type: Annotated[Literal["foreach"], BeforeValidator(lambda _: "foreach")] = "foreach"


def loop(config: LoopConfig, ctx: NodeContext) -> Any:
    if config.loop_type == "while":
        condition = config.condition_expression
        goes_on = _lenient(condition, ctx) if isinstance(condition, str) else condition
        return Branch("body" if goes_on else "done")
    if config.loop_type == "repeat":
        return {"count": _count(config.repeat_count, ctx)}
    items = config.array_expression
    value = ctx.evaluate(items) if isinstance(items, str) else items
    if not isinstance(value, list):
        raise ConfigError(f"array_expression gives no list but {value!r:.80}: give an expression that gives a list")
    return {"items": value}


handler("loop", config=LoopConfig)(loop)
handler("for", config=ForConfig)(loop)
handler("while", config=WhileConfig)(loop)
handler("repeat", config=RepeatConfig)(loop)
handler("foreach", config=ForeachConfig)(loop)


def _lenient(condition: str, ctx: NodeContext) -> Any:
    """A missing key is null: before the first turn there is nothing of the body yet."""
    return ctx.evaluate_or_null(condition)


def _count(count: int | str | None, ctx: NodeContext) -> int:
    value = ctx.evaluate(count) if isinstance(count, str) else count
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"repeat_count gives {value!r:.80}: it must be a whole number, 0 or more, such as int(a / b)")
    return value


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
