"""switch: takes the edges labelled with the case that its value matches.

    {"switch_expression": "input.country", "cases": {"DE": "german", "AT": "german", "default": "other"}}

Output: {"value": the expression's value, "case": a key or "default", "output": what the case is mapped to, or null}.
Keys are compared with the value as text: true is "true", 1 and 1.0 are "1", null is "null", objects are JSON.
The branch is always a key. An edge may be labelled with what a key is mapped to instead: label_keys() says which keys
such a label stands for, once, when the workflow is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from dray.actors.context import Branch, NodeContext
from dray.actors.expressions.config import BareExpression, as_text
from dray.actors.registry import NodeConfig, handler

DEFAULT = "default"


class SwitchConfig(NodeConfig):
    """cases: value as text -> any JSON value, most often a label. No case need be "default"."""

    switch_expression: Annotated[str, BareExpression()] = Field(
        validation_alias=AliasChoices("switch_expression", "expression")
    )
    cases: dict[str, Any] = Field(default_factory=dict)


@handler("switch", config=SwitchConfig)
def switch(config: SwitchConfig, ctx: NodeContext) -> Branch:
    value = ctx.evaluate(config.switch_expression)
    key = case_text(value)
    case = key if key in config.cases else DEFAULT
    return Branch(case, {"value": value, "case": case, "output": config.cases.get(case)})


def case_text(value: Any) -> str:
    """The value as a case's key is written."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "null" if value is None else as_text(value)


def label_keys(config: Mapping[str, Any], label: str) -> tuple[str, ...]:
    """The keys of a switch's config that an edge label stands for, at least one.

    A key (or "default") stands for itself, even if another key is mapped to that text; what several keys are mapped to
    stands for all of them; a label that is neither stands for itself, and is never chosen.
    """
    cases = config.get("cases")
    if not isinstance(cases, Mapping) or label in cases or label == DEFAULT:
        return (label,)
    return tuple(key for key, mapped in cases.items() if case_text(mapped) == label) or (label,)


def label_key(config: Mapping[str, Any], label: str) -> str:
    """The first of label_keys(): enough where no two keys are mapped to the same value."""
    return label_keys(config, label)[0]
