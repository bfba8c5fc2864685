"""map, filter, reduce, split: one list in, {"result": ..., "count": n} out.

    map      result: map_expression's value for each item; count: items
    filter   result: the items for which filter_condition is true; count: how many are left
    reduce   result: reduce_function's last value; count: items
    split    result: the parts (see SplitConfig); count: how many parts

The list is input_array: a list, an expression, or a template. Without it, the output of the only predecessor, or that
output's "result", so that one of these nodes can follow another.
Expressions know item and index (from 0), reduce_function also acc; `(acc, item) => acc + item` is accepted too.
A condition is true or false as in the condition node: null, 0, "", [] and {} are false.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError, NodeError
from dray.actors.expressions.bounds import gathered
from dray.actors.expressions.config import BareExpression, Expression, as_text
from dray.actors.registry import JsonText, NodeConfig, handler


class ListConfig(NodeConfig):
    """input_array: a literal list, or an expression that gives one."""

    input_array: Annotated[list[Any] | str | None, BareExpression()] = None


class MapConfig(ListConfig):
    """map_expression: the new item."""

    map_expression: Expression


class FilterConfig(ListConfig):
    """filter_condition: whether the item stays."""

    filter_condition: Expression


class ReduceConfig(ListConfig):
    """reduce_function: the new acc. initial_value: the first acc; null = the first item, as in JavaScript."""

    reduce_function: Annotated[str, BareExpression("acc", "item", "index")]
    initial_value: Annotated[Any, JsonText()] = None


class Splitting(NodeConfig):
    """size: items per part. key: a key of the items, dots lead inwards. condition: an expression of item and index."""

    size: int | None = Field(default=None, ge=1)
    key: str = ""
    condition: Expression = ""


class SplitConfig(ListConfig):
    """split_strategy and what split_config must hold for it:

    by_key         key: result is {the item's value at key, as text: [items]}; missing is ""
    by_size        size: result is a list of lists of that many items, the last may be shorter
    by_condition   condition: result is {"true": [items], "false": [items]}
    """

    split_strategy: Literal["by_key", "by_size", "by_condition"] = "by_key"
    split_config: Splitting = Field(default=Splitting(), validate_default=True)

    @field_validator("split_config")
    @classmethod
    def _fits_strategy(cls, splitting: Splitting, info: ValidationInfo) -> Splitting:
        needed = info.data.get("split_strategy", "by_key").removeprefix("by_")
        if not getattr(splitting, needed):
            raise ValueError(f'split_strategy "by_{needed}" needs split_config.{needed}')
        return splitting


@handler("map", config=MapConfig, needs=["inputs"])
def map_list(config: MapConfig, ctx: NodeContext) -> dict[str, Any]:
    result = gathered(value for _, value in _each(config, config.map_expression, ctx))
    return {"result": result, "count": len(result)}


@handler("filter", config=FilterConfig, needs=["inputs"])
def filter_list(config: FilterConfig, ctx: NodeContext) -> dict[str, Any]:
    result = [item for item, kept in _each(config, config.filter_condition, ctx) if kept]
    return {"result": result, "count": len(result)}


@handler("reduce", config=ReduceConfig, needs=["inputs"])
def reduce_list(config: ReduceConfig, ctx: NodeContext) -> dict[str, Any]:
    items = _items(config, ctx)
    start = 0 if config.initial_value is not None else 1
    acc = config.initial_value if start == 0 else (items[0] if items else None)
    for index in range(start, len(items)):
        _go_on(ctx)
        acc = ctx.evaluate(config.reduce_function, acc=acc, item=items[index], index=index)
    return {"result": acc, "count": len(items)}


@handler("split", config=SplitConfig, needs=["inputs"])
def split_list(config: SplitConfig, ctx: NodeContext) -> dict[str, Any]:
    how = config.split_config
    if config.split_strategy == "by_size":
        items, size = _items(config, ctx), how.size or 1
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        return {"result": parts, "count": len(parts)}
    groups: dict[str, list[Any]] = {}
    if config.split_strategy == "by_key":
        for item in _items(config, ctx):
            groups.setdefault(as_text(_at(item, how.key)), []).append(item)
    else:
        groups = {"true": [], "false": []}
        for item, value in _each(config, how.condition, ctx):
            groups["true" if value else "false"].append(item)
    return {"result": groups, "count": len(groups)}


def _each(config: ListConfig, expression: str, ctx: NodeContext) -> Iterator[tuple[Any, Any]]:
    """Each item with the expression's value for it."""
    for index, item in enumerate(_items(config, ctx)):
        _go_on(ctx)
        yield item, ctx.evaluate(expression, item=item, index=index)


def _items(config: ListConfig, ctx: NodeContext) -> list[Any]:
    given = config.input_array
    if given is None:
        if len(ctx.inputs) != 1:
            raise ConfigError(f"set input_array: this node has {len(ctx.inputs)} inputs, so it must say which list")
        ((given_by, value),) = ctx.inputs.items()
        if isinstance(value, dict):
            value = value.get("result")
        source = f"the output of {given_by!r}"
    else:
        value = ctx.evaluate(given) if isinstance(given, str) else given
        source = "input_array"
    if not isinstance(value, list):
        raise ConfigError(f"{source} is no list but {value!r:.80}: set input_array to an expression that gives a list")
    return value


def _go_on(ctx: NodeContext) -> None:
    if ctx.cancelled():
        raise NodeError("stopped: cancelled, or out of time; raise the node's timeout or give it a shorter list")


def _at(item: Any, key: str) -> Any:
    for part in key.split("."):
        item = item.get(part) if isinstance(item, dict) else None
    return item
