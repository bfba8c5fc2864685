"""set_variable, get_variable: named values of one execution, also visible in expressions as vars.<name>.

A variable is the output of the set_variable node that set it: {"variable_name", "value", "scope"}. A node sees those
set by the nodes before it; of several, the last. get_variable's output: {"variable_name", "value", "found": bool}.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from dray.actors.context import NodeContext
from dray.actors.registry import NodeConfig, handler


class SetVariableConfig(NodeConfig):
    """variable_value: any JSON value, default null."""

    variable_name: str = Field(min_length=1)
    variable_value: Any = None
    variable_scope: Literal["workflow"] = "workflow"

    @field_validator("variable_scope", mode="before")
    @classmethod
    def _workflow_only(cls, scope: object) -> object:
        if scope in ("node", "loop"):
            raise ValueError(f'{scope!r} is not supported yet: use "workflow"')
        return scope


class GetVariableConfig(NodeConfig):
    """default_value: given when the variable is not set; default null."""

    variable_name: str = Field(min_length=1)
    default_value: Any = None


@handler("set_variable", config=SetVariableConfig)
def set_variable(config: SetVariableConfig, ctx: NodeContext) -> dict[str, Any]:
    return {
        "variable_name": config.variable_name,
        "value": config.variable_value,
        "scope": config.variable_scope,
    }


@handler("get_variable", config=GetVariableConfig, needs=["vars"])
def get_variable(config: GetVariableConfig, ctx: NodeContext) -> dict[str, Any]:
    name = config.variable_name
    return {"variable_name": name, "value": ctx.vars.get(name, config.default_value), "found": name in ctx.vars}
