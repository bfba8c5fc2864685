"""set_variable, get_variable: named values of one execution, also visible in expressions as vars.<name>.

A variable is the output of the set_variable node that set it: {"variable_name", "value", "scope"}. A node sees those
set by the nodes before it; of several, the last. get_variable's output: {"variable_name", "value", "found": bool}.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dray.actors.context import NodeContext
from dray.actors.registry import NodeConfig, handler

INSTEAD = {
    "node": "what the node alone knows is its output: read nodes.<its id>.output.value",
    "loop": "give the variable a name of its own and set it at the beginning of each turn",
}


def _workflow_only(scope: object) -> object:
    if isinstance(scope, str) and scope in INSTEAD:
        raise ValueError(
            f'variables are of the whole execution, {scope!r} is no scope: {INSTEAD[scope]}, or write "workflow"'
        )
    return scope


Scope = Annotated[Literal["workflow"], BeforeValidator(_workflow_only)]


class SetVariableConfig(NodeConfig):
    """variable_value: any JSON value, default null."""

    variable_name: str = Field(min_length=1)
    variable_value: Any = None
    variable_scope: Scope = "workflow"


class GetVariableConfig(NodeConfig):
    """default_value: given when the variable is not set; default null."""

    variable_name: str = Field(min_length=1)
    default_value: Any = None
    variable_scope: Scope = "workflow"


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
