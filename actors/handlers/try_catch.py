"""try, catch, finally: a chain around nodes that may fail.

    try -> work -> catch -> repair -> finally -> next

try       begins the protected part; done by the driver without a runner. Output: null
catch     runs in any case. A failure of a protected node leads here: then the edges "caught" are taken, else "passed".
          Output: {"caught": bool, "error": {"type", "message", "node"} | null, "result"}
finally   runs in any case; if a failure led here, it fails again with it. Output: {"result"}

A wait whose time was over is a `timeout` too. A catch with an error_type fails again with what is not of that type, as
if it were not there. error_handler (run when something was caught) and finally_code (always) are Python texts, run as
by a code node, with {"error"} as JSON on stdin; result is the value of their variable `result`, null without a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from dray.actors.context import Branch, NodeContext
from dray.actors.errors import FailedAgain, WaitTimedOut
from dray.actors.expressions.config import Raw
from dray.actors.messages import FailureType
from dray.actors.outside.script import Script, run_script
from dray.actors.registry import NodeConfig, handler

SECONDS = 30.0  # for a text in a config, as for a code node that says nothing
TOO = {WaitTimedOut.__name__: FailureType.TIMEOUT}  # type -> what it is as well
ANY = frozenset({"", "*", "any", "all", "error", "exception"})


class TryConfig(NodeConfig):
    """try_scope: a remark."""

    try_scope: Any = None


class CatchConfig(NodeConfig):
    """error_type: one or several types of failures, in any case; empty, "any" or "Exception" = all."""

    error_type: list[str] = Field(default_factory=list)
    error_handler: Annotated[str, Raw()] = ""

    @field_validator("error_type", mode="before")
    @classmethod
    def _as_list(cls, types: object) -> object:
        return [each.strip() for each in types.split(",")] if isinstance(types, str) else types


class FinallyConfig(NodeConfig):
    finally_code: Annotated[str, Raw()] = ""


@handler("try", config=TryConfig)
def begin(config: TryConfig, ctx: NodeContext) -> None:
    return None


@handler("catch", config=CatchConfig, needs=["error"])
async def catch(config: CatchConfig, ctx: NodeContext) -> Branch:
    error = ctx.error
    if error is None:
        return Branch("passed", {"caught": False, "error": None, "result": None})
    wanted = {each.lower() for each in config.error_type} - {""}
    kind = str(error.get("type", ""))
    if wanted and not wanted & (ANY | {kind.lower(), TOO.get(kind, kind).lower()}):
        raise _again(error)
    return Branch("caught", {"caught": True, "error": dict(error), "result": await _run(config.error_handler, ctx)})


@handler("finally", config=FinallyConfig, needs=["error"])
async def end(config: FinallyConfig, ctx: NodeContext) -> dict[str, Any]:
    result = await _run(config.finally_code, ctx)
    if ctx.error is not None:
        raise _again(ctx.error)
    return {"result": result}


async def _run(code: str, ctx: NodeContext) -> Any:
    if not code.strip():
        return None
    error = None if ctx.error is None else dict(ctx.error)
    done = await run_script(Script(code, given={"error": error}, seconds=min(SECONDS, ctx.remaining())))
    return done["result"]


def _again(error: Mapping[str, Any]) -> FailedAgain:
    return FailedAgain(str(error.get("type", "")), str(error.get("message", "")), error.get("node"))
