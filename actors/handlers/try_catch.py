"""try, catch, finally: a chain around nodes that may fail.

    try -> work -> catch -> repair -> finally -> next

try       begins the protected part; done by the driver without a runner. Output: null
catch     runs in any case. A failure of a protected node leads here: then the edges "caught" are taken, else "passed".
          Output: {"caught": bool, "error": {"type", "message", "node"} | null}
finally   runs in any case; if a failure led here, it fails again with it. Output: {"error": null}

A catch with an error_type fails again with what is not of that type, as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from actors.context import Branch, NodeContext
from actors.errors import FailedAgain
from actors.registry import NodeConfig, handler

ANY = frozenset({"", "*", "any", "all", "error", "exception"})


class TryConfig(NodeConfig):
    """try_scope: a remark."""

    try_scope: Any = None


class CatchConfig(NodeConfig):
    """error_type: one or several types of failures, in any case; empty, "any" or "Exception" = all."""

    error_type: list[str] = Field(default_factory=list)
    error_handler: str = ""

    @field_validator("error_type", mode="before")
    @classmethod
    def _as_list(cls, types: object) -> object:
        return [each.strip() for each in types.split(",")] if isinstance(types, str) else types

    @field_validator("error_handler")
    @classmethod
    def _no_code(cls, code: str) -> str:
        return _refuse(code, "after the catch, with an edge from it")


class FinallyConfig(NodeConfig):
    finally_code: str = ""

    @field_validator("finally_code")
    @classmethod
    def _no_code(cls, code: str) -> str:
        return _refuse(code, "between the catch and the finally")


@handler("try", config=TryConfig)
def begin(config: TryConfig, ctx: NodeContext) -> None:
    return None


@handler("catch", config=CatchConfig, needs=["error"])
def catch(config: CatchConfig, ctx: NodeContext) -> Branch:
    error = ctx.error
    if error is None:
        return Branch("passed", {"caught": False, "error": None})
    wanted = {each.lower() for each in config.error_type} - {""}
    if wanted and not wanted & (ANY | {str(error.get("type", "")).lower()}):
        raise _again(error)
    return Branch("caught", {"caught": True, "error": dict(error)})


@handler("finally", config=FinallyConfig, needs=["error"])
def end(config: FinallyConfig, ctx: NodeContext) -> dict[str, Any]:
    if ctx.error is not None:
        raise _again(ctx.error)
    return {"error": None}


def _again(error: Mapping[str, Any]) -> FailedAgain:
    return FailedAgain(str(error.get("type", "")), str(error.get("message", "")))


def _refuse(code: str, place: str) -> str:
    if code.strip():
        raise ValueError(f"code in this field is not run: put it into a code node {place}")
    return code
