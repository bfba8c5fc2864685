"""A node type with an effect outside that can be counted: one line per run in the file that EFFECTS names."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from dray.actors.context import NodeContext, WaitForSignal
from dray.actors.registry import NodeConfig, handler

EFFECTS = "TEST_EFFECTS"


class EffectConfig(NodeConfig):
    """seconds: how long the node takes. fails: so many attempts fail, with their effect."""

    seconds: float = 0.0
    fails: int = 0


@handler("effect", config=EffectConfig)
def effect(config: EffectConfig, ctx: NodeContext) -> dict[str, Any]:
    take_effect(ctx)
    if config.seconds:
        time.sleep(config.seconds)
    if ctx.attempt <= config.fails:
        raise ConnectionError("not yet")
    return {"by": os.getpid()}


class AskConfig(NodeConfig):
    signal: str


@handler("effect_asks", config=AskConfig)
def effect_asks(config: AskConfig, ctx: NodeContext) -> Any:
    """An effect in each call: before the wait, and with the answer."""
    take_effect(ctx)
    return WaitForSignal(config.signal) if ctx.news is None else {"by": os.getpid()}


def take_effect(ctx: NodeContext) -> None:
    line = json.dumps({"key": ctx.idempotency_key, "attempt": ctx.attempt, "at": time.time(), "pid": os.getpid()})
    # One write to a file opened for appending is one piece, whoever else writes.
    with Path(os.environ[EFFECTS]).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


class HoldConfig(NodeConfig):
    """file: while it is not there, the node runs; beside it, `<file>.began`."""

    file: str


@handler("hold", config=HoldConfig)
def hold(config: HoldConfig, ctx: NodeContext) -> None:
    Path(f"{config.file}.began").touch()
    while not Path(config.file).exists() and not ctx.cancelled():
        time.sleep(0.01)


@handler("crash")
def crash(config: dict[str, Any], ctx: NodeContext) -> None:
    """Ends its runner's process."""
    os._exit(13)


@handler("massacre")
def massacre(config: dict[str, Any], ctx: NodeContext) -> None:
    """Kills every runner of its Ray node, its own last."""
    me, raylet = os.getpid(), os.getppid()
    workers = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit() and int(each.name) != me:
            try:
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == raylet and (each / "cmdline").read_bytes().startswith(b"ray::RunnerActor"):
                    workers.append(int(each.name))
            except OSError:
                continue
    for pid in [*workers, me]:
        os.kill(pid, signal.SIGKILL)


@handler("stuck")
def stuck(config: dict[str, Any], ctx: NodeContext) -> None:
    """Never returns, and hears nothing."""
    while True:
        time.sleep(60)


class Unpicklable(Exception):
    """Cannot be sent anywhere, and says far too much."""

    def __init__(self) -> None:
        super().__init__("x" * 1_000_000 + "\0")
        self.lock = threading.Lock()


class BadConfig(NodeConfig):
    """way: of misbehaving."""

    way: str


@handler("bad", config=BadConfig)
def bad(config: BadConfig, ctx: NodeContext) -> Any:
    """Answers what no handler should."""
    if config.way == "raises":
        raise Unpicklable
    if config.way == "exits":
        raise SystemExit(3)
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    answers: dict[str, Any] = {
        "nan": {"x": float("nan")},
        "nul": {"x": "a\0b"},
        "surrogate": {"x": "\ud800"},
        "object": {"x": object()},
        "large": "x" * (5 << 20),  # over what an output may have
        "deep": deep,
    }
    return answers[config.way]


class Effect(NamedTuple):
    """key: execution/node. at: seconds since 1970, before the node took effect."""

    key: str
    attempt: int
    at: float
    pid: int


def read_effects(path: Path) -> list[Effect]:
    return [Effect(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
