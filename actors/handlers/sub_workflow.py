"""sub_workflow: starts an execution of another workflow, and waits for its end or does not.

Output: {"sub_workflow_id": as in the config, "sub_execution_id", "status": "started" or "completed", "result": what it
gave}. An execution that fails or is cancelled makes the node fail as ChildFailed; one that takes too long is cancelled,
and the node fails as WaitTimedOut. Neither is tried again: the nodes in there have their own retries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from dray.actors.context import NodeContext, WaitForChild
from dray.actors.errors import ChildFailed, WaitTimedOut
from dray.actors.registry import JsonText, NodeConfig, handler

YEAR = 366 * 24 * 3600.0


class SubWorkflowConfig(NodeConfig):
    """workflow_id: a name, else the number of a stored version. version: default the latest. input_data: default the
    parent's input. timeout_seconds: of waiting, default 3,600."""

    workflow_id: str = Field(
        min_length=1,
        max_length=200,
        validation_alias=AliasChoices("workflow_id", "sub_workflow_id", "workflow", "workflow_name"),
    )
    version: int | None = Field(default=None, ge=1, le=2**31 - 1)
    input_data: Annotated[Any, JsonText(objects=True)] = None
    wait_for_completion: bool = False
    timeout_seconds: float = Field(default=3_600.0, ge=0, le=YEAR, allow_inf_nan=False)


@handler("sub_workflow", config=SubWorkflowConfig, needs=["input"])
@handler("sub-workflow", config=SubWorkflowConfig, needs=["input"])
def sub_workflow(config: SubWorkflowConfig, ctx: NodeContext) -> WaitForChild | dict[str, Any]:
    name = config.workflow_id
    if ctx.news is None:
        return _start(config, ctx.scope.get("input") if config.input_data is None else config.input_data)
    child = ctx.news.child
    if child is None:
        raise WaitTimedOut(
            f"timed out: the execution of workflow {name!r} did not end within {config.timeout_seconds:g} s and is "
            "cancelled: raise timeout_seconds"
        )
    if child["status"] != "completed":
        raise ChildFailed(f"execution {child['id']} of workflow {name!r} {child['status']}{_why(child.get('error'))}")
    return {
        "sub_workflow_id": name,
        "sub_execution_id": child["id"],
        "status": "completed",
        "result": child.get("output"),
    }


def _start(config: SubWorkflowConfig, given: Any) -> WaitForChild:
    if config.wait_for_completion:
        return WaitForChild(config.workflow_id, given, config.version, timeout=config.timeout_seconds)
    child = WaitForChild(config.workflow_id, given, config.version, wait=False, output={})
    child.output.update(sub_workflow_id=config.workflow_id, sub_execution_id=child.id, status="started")
    return child


def _why(error: Any) -> str:
    if not isinstance(error, Mapping):
        return ""
    where = f" at node {error['node']!r}" if error.get("node") else ""
    return f"{where}: {error.get('type')}: {error.get('message')}"
