"""merge: the outputs of the nodes before this one, as one value.

    deep      objects are merged key by key, at every depth; any other value: the later source wins   (the default)
    shallow   the top-level keys of objects; the later source wins
    array     a list of the outputs as they are, of any type
    first     the output of the first source, of any type
    last      that of the last one

Output: {"result": the merged object, the list or the value, "count": how many sources there were}.
Sources: the predecessors that ran, in the order of the graph's edges (behind a fork that waits for some of its branches
only, in the order in which they arrived), or what input_sources names, in that order: predecessors, and paths such as
`input.a`. A predecessor that was skipped is left out, and so is a path to null. Without merge_strategy the fork's
parallel_aggregation says it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError
from dray.actors.expressions.config import BareExpression
from dray.actors.registry import NodeConfig, handler


class Source(NodeConfig):
    """A value from elsewhere, such as `input.a`: what the text of a path becomes when the workflow is stored."""

    expression: Annotated[str, BareExpression()]


class MergeConfig(NodeConfig):
    """input_sources: ids of direct predecessors, and expressions; empty = all predecessors."""

    merge_strategy: Literal["deep", "shallow", "array", "first", "last"] = "deep"
    input_sources: list[str | Source] = Field(default_factory=list)


@handler("merge", config=MergeConfig, needs=["inputs"])
def merge(config: MergeConfig, ctx: NodeContext) -> dict[str, Any]:
    wanted = config.input_sources or list(ctx.inputs)
    sources: dict[str, Any] = {}
    for each in wanted:
        if not isinstance(each, Source):
            sources |= {each: ctx.inputs[each]} if each in ctx.inputs else {}
        elif (value := ctx.evaluate(each.expression)) is not None:
            sources[each.expression] = value
    if wanted and not sources:
        ran = ", ".join(ctx.inputs) or "none"
        raise ConfigError(
            f"nothing of input_sources is there (these predecessors ran: {ran}): correct the ids and paths"
        )
    if config.merge_strategy == "array":
        return {"result": list(sources.values()), "count": len(sources)}
    if config.merge_strategy in ("first", "last"):
        outputs = list(sources.values()) or [None]
        return {"result": outputs[0 if config.merge_strategy == "first" else -1], "count": len(sources)}
    result: dict[str, Any] = {}
    for name, output in sources.items():
        if not isinstance(output, dict):
            what = "node" if name in ctx.inputs else "source"
            raise ConfigError(f'{what} {name!r} gave {output!r:.80}, no object: use merge_strategy "array"')
        result = _deep(result, output) if config.merge_strategy == "deep" else result | output
    return {"result": result, "count": len(sources)}


def _deep(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _deep(old.get(key), value) for key, value in new.items()}
