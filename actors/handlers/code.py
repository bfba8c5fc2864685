"""code: runs a Python or Bash script in a process of its own (actors/outside/script.py).

Output: {"stdout", "stderr", "exit_code": 0, "result", "duration_ms", "truncated"}.
An exit code other than 0 fails the attempt. The script's text is not a template: values pasted into code would be run
as code; it gets input_data as JSON on stdin.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dray.actors.context import NodeContext
from dray.actors.expressions.config import Raw
from dray.actors.outside.script import Script, run_script
from dray.actors.registry import JsonText, NodeConfig, handler

HERE = frozenset({"", "subprocess", "process", "local"})  # names of the one runtime


class CodeConfig(NodeConfig):
    """input_data: any JSON value; null = empty stdin. memory_mb: MiB, default 512. timeout_seconds: default 30.

    runtime: where it runs; there is one.
    """

    code: Annotated[str, Raw()] = Field(min_length=1)
    language: Literal["python", "bash"] = "python"
    input_data: Annotated[Any, JsonText(objects=True)] = None
    timeout_seconds: float = Field(default=30.0, gt=0, le=86_400)
    memory_mb: int = Field(default=512, ge=64, le=1 << 20)
    runtime: str = ""

    @field_validator("runtime")
    @classmethod
    def _is_here(cls, runtime: str) -> str:
        if runtime.strip().lower() not in HERE:
            raise ValueError(
                f"{runtime!r} is not here, code runs in a process of its own on the runner's machine: leave runtime "
                "out if that will do, else register a node type of your own that calls it"
            )
        return runtime


@handler("code", config=CodeConfig)
async def code(config: CodeConfig, ctx: NodeContext) -> dict[str, Any]:
    seconds = min(config.timeout_seconds, ctx.remaining())
    return await run_script(Script(config.code, config.language, config.input_data, seconds, config.memory_mb))
