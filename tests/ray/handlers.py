"""What runners run in the tests of this folder. Its types have a prefix: no other test may have used the name."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dray.actors.context import Branch, NodeContext, Wait
from dray.actors.registry import handler


@handler("ray.noop")
def noop(config: dict[str, Any], ctx: NodeContext) -> dict[str, int]:
    return {"x": 1}


@handler("ray.noop_async")
async def noop_async(config: dict[str, Any], ctx: NodeContext) -> dict[str, int]:
    return {"x": 1}


@handler("ray.echo")
def echo(config: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
    return config


@handler("ray.large")
def large(config: dict[str, Any], ctx: NodeContext) -> str:
    return "x" * int(config["bytes"])


@handler("ray.branch")
def branch(config: dict[str, Any], ctx: NodeContext) -> Branch:
    return Branch("left", 1)


@handler("ray.wait_a_minute")
def wait_a_minute(config: dict[str, Any], ctx: NodeContext) -> Wait:
    return Wait(60, 2)


@handler("ray.raises")
def raises(config: dict[str, Any], ctx: NodeContext) -> None:
    class Local(Exception):
        """Cannot be pickled: nobody else can import it."""

    raise Local("no luck")


@handler("ray.environment")
def environment(config: dict[str, Any], ctx: NodeContext) -> dict[str, str]:
    return dict(os.environ)


@handler("ray.modules")
def modules(config: dict[str, Any], ctx: NodeContext) -> list[str]:
    return sorted(sys.modules)


@handler("ray.threads")
def threads(config: dict[str, Any], ctx: NodeContext) -> list[str]:
    return [each.name for each in threading.enumerate()]


@handler("ray.speaks")
def speaks(config: dict[str, Any], ctx: NodeContext) -> int:
    ctx.log.info("a line of the node's own")
    return os.getpid()


@handler("ray.exits")
def exits(config: dict[str, Any], ctx: NodeContext) -> None:
    os._exit(13)


@handler("ray.sleeps")
async def sleeps(config: dict[str, Any], ctx: NodeContext) -> None:
    await asyncio.sleep(config.get("seconds", 600))


@handler("ray.holds")
def holds(config: dict[str, Any], ctx: NodeContext) -> str:
    """Until its file is there."""
    Path(f"{config['file']}.{os.getpid()}.began").touch()
    while not ctx.cancelled() and not Path(config["file"]).exists():
        time.sleep(0.01)
    return "cancelled" if ctx.cancelled() else "released"


@handler("ray.spins")
def spins(config: dict[str, Any], ctx: NodeContext) -> None:
    """Keeps the GIL busy and hears nothing, until its file is there."""
    while not Path(config["file"]).exists():
        sum(range(10_000))


@handler("ray.never_ends")
def never_ends(config: dict[str, Any], ctx: NodeContext) -> None:
    while True:
        time.sleep(60)


@handler("ray.eats")
def eats(config: dict[str, Any], ctx: NodeContext) -> None:
    """More and more memory."""
    eaten = []
    while True:
        eaten.append(bytearray(50 << 20))
        time.sleep(0.01)


@handler("ray.on_gpu", num_gpus=1)
def on_gpu(config: dict[str, Any], ctx: NodeContext) -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


@handler("ray.where")
def where(config: dict[str, Any], ctx: NodeContext) -> Any:
    return {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES", ""), "pid": os.getpid()}


@handler("ray.licensed", resources={"licence": 1}, num_cpus=0)
def licensed(config: dict[str, Any], ctx: NodeContext) -> int:
    return os.getpid()


@handler("ray.in_zone_b", label_selector={"zone": "b"})
def in_zone_b(config: dict[str, Any], ctx: NodeContext) -> int:
    return os.getpid()
