"""Type checkers see what Dray is: a user's mistakes are found, and a user's sound module is not complained about."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOUND = """
from typing import Any

from dray import Branch, Client, NodeConfig, NodeContext, handler


class Order(NodeConfig):
    number: int


@handler("price", config=Order, concurrency=2)
def price(config: Order, ctx: NodeContext) -> int:
    return config.number * 2


@handler("look")
async def look(config: dict[str, Any], ctx: NodeContext) -> Branch:
    return Branch("yes", ctx.remaining())


def test_price() -> None:
    assert price(Order(number=2), NodeContext()) == 4


def start(client: Client) -> str:
    return client.submit("order", {"number": 1}, priority=3)
"""
MISTAKES = {
    "a misspelt method": "def m1(client: Client) -> str:\n    return client.submitt('order')",
    "a misspelt argument": "def m2(client: Client) -> str:\n    return client.submit('order', prioritiy=3)",
    "a misspelt name": "from dray import NodeContxt",
    "a misspelt field": "def m3(order: Order) -> int:\n    return order.nubmer",
    "a handler without arguments": "@handler('a', config=Order)\ndef m4() -> int:\n    return 1",
    "another config than declared": "@handler('b', config=Order)\ndef m5(config: str, ctx: NodeContext) -> None: ...",
    "an unknown option": "@handler('c', config=Order, gpus=1)\ndef m6(config: Order, ctx: NodeContext) -> None: ...",
}


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    """A sound module with the mistakes behind it, and the first line of each."""
    text, starts = SOUND.lstrip(), {}
    for name, mistake in MISTAKES.items():
        starts[len(text.splitlines()) + 3] = name
        text += f"\n\n{mistake}\n"
    path = tmp_path_factory.mktemp("shop") / "shop.py"
    path.write_text(text)
    return path, starts


def found_by(lines: set[int], starts: dict[int, str]) -> list[str]:
    """The mistakes in which a complaint lies; "sound" for one before them."""
    places = {0: "sound", **starts}
    return sorted({places[max(each for each in places if each <= line)] for line in lines})


def test_mypy_finds_them(module: tuple[Path, dict[int, str]]) -> None:
    path, starts = module
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--output=json", "--cache-dir=cache", path.name],
        cwd=path.parent, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    lines = {each["line"] for each in told if each["severity"] == "error"}
    assert found_by(lines, starts) == sorted(starts.values()), done.stdout + done.stderr


def test_pyright_finds_them(module: tuple[Path, dict[int, str]]) -> None:
    path, starts = module
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, path.name],
        cwd=path.parent, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    told = json.loads(done.stdout)["generalDiagnostics"]
    lines = {each["range"]["start"]["line"] + 1 for each in told if each["severity"] == "error"}
    assert found_by(lines, starts) == sorted(starts.values()), done.stdout + done.stderr
