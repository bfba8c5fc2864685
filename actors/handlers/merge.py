"""merge: the outputs of the nodes before this one, as one value.

    deep      objects are merged key by key, at every depth; any other value: the later source wins   (the default)
    shallow   the top-level keys of objects; the later source wins
    array     a list of the outputs as they are, of any type
    first     the output of the first source, of any type
    last      that of the last one

Output: {"result": the merged object, the list or the value, "count": how many sources there were}.
Sources: the predecessors that ran, in the order of the graph's edges (behind a fork that waits for some of its branches
only, in the order in which they arrived), or those of them named in input_sources, in that order. A predecessor that
was skipped is left out. Without merge_strategy the fork's parallel_aggregation says it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError
from dray.actors.registry import NodeConfig, handler


class MergeConfig(NodeConfig):
    """input_sources: ids of direct predecessors; empty = all."""

    merge_strategy: Literal["deep", "shallow", "array", "first", "last"] = "deep"
    input_sources: list[str] = Field(default_factory=list)


@handler("merge", config=MergeConfig, needs=["inputs"])
def merge(config: MergeConfig, ctx: NodeContext) -> dict[str, Any]:
    wanted = config.input_sources or list(ctx.inputs)
    sources = {node_id: ctx.inputs[node_id] for node_id in wanted if node_id in ctx.inputs}
    if wanted and not sources:
        ran = ", ".join(ctx.inputs) or "none"
        raise ConfigError(f"no node of input_sources is a predecessor that ran (these did: {ran}): correct the ids")
    if config.merge_strategy == "array":
        return {"result": list(sources.values()), "count": len(sources)}
    if config.merge_strategy in ("first", "last"):
        outputs = list(sources.values()) or [None]
        return {"result": outputs[0 if config.merge_strategy == "first" else -1], "count": len(sources)}
    result: dict[str, Any] = {}
    for node_id, output in sources.items():
        if not isinstance(output, dict):
            raise ConfigError(f'node {node_id!r} gave {output!r:.80}, no object: use merge_strategy "array"')
        result = _deep(result, output) if config.merge_strategy == "deep" else result | output
    return {"result": result, "count": len(sources)}


def _deep(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _deep(old.get(key), value) for key, value in new.items()}
