"""condition, if: takes the edges labelled "true" or those labelled "false".

Output: {"condition_result": bool, "branch": "true" | "false", "condition_expr": the expression as stored}.
A result that is no boolean counts as false if it is null, 0, "", [] or {}, and as true otherwise (so the text "false"
is true). All values of condition_type are evaluated as CEL; with "jsonpath" a missing key is null.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field, StrictBool

from dray.actors.context import Branch, NodeContext
from dray.actors.expressions.config import BareExpression
from dray.actors.registry import NodeConfig, handler


class ConditionConfig(NodeConfig):
    """condition: an expression, or a literal true or false; "expression" is the same field's other name."""

    condition: Annotated[StrictBool | str, BareExpression()] = Field(
        validation_alias=AliasChoices("condition", "expression")
    )
    condition_type: Literal["javascript", "python", "jsonpath"] = "javascript"


@handler("condition", config=ConditionConfig)
@handler("if", config=ConditionConfig)
def condition(config: ConditionConfig, ctx: NodeContext) -> Branch:
    expression = config.condition
    # A path of JSONPath that leads nowhere is false; a name that the other two do not know is a mistake.
    evaluate = ctx.evaluate_or_null if config.condition_type == "jsonpath" else ctx.evaluate
    result = bool(evaluate(expression) if isinstance(expression, str) else expression)
    label = "true" if result else "false"
    return Branch(label, {"condition_result": result, "branch": label, "condition_expr": expression})
