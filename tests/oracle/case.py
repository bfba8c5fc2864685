"""A graph as both of them take it: as the engine stores it, and as the interpreter reads it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from dray.actors.registry import HandlerSpec, load_handlers
from dray.cluster.errors import GraphInvalid
from dray.cluster.execution.attempts import Policy
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from tests.oracle.interpreter import Interpreter
from tests.oracle.parts import Unclear
from tests.oracle.structure import Structure

INPUT = {"n": 2, "list": ["x", "y"]}
POLICY = Policy(max_retries=3, max_iterations=6)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


def _run(config: Any, ctx: Any) -> None:
    return None


HANDLERS = {**load_handlers(), "work": HandlerSpec(type="work", function=_run, config_model=Open)}


def where(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.name} of {Path(last.filename).name}: {error}"


class Difference(Exception):
    """Where the two part."""


class Refused(Exception):
    """The engine's checker does not take the graph."""


class Skipped(Exception):
    """The page does not say what such a graph means."""


class Case:
    """A graph as both of them take it."""

    def __init__(self, graph: dict[str, Any]) -> None:
        self.source = graph
        self.nodes = {each["id"]: each for each in graph["nodes"]}
        self.unclear: str | None = None
        try:
            self.what = Structure(graph)
        except Unclear as why:
            self.unclear = str(why)
        try:
            self.stored = canonical(graph, HANDLERS)
            self.graph = load(1, "w", 1, self.stored)
        except GraphInvalid as refused:
            beside = f" [{self.unclear}]" if self.unclear else ""
            raise Refused("; ".join(map(str, refused.problems)) + beside) from None
        except Exception as error:
            raise Difference(f"storing it fails: {where(error)}") from error
        if self.unclear:
            raise Skipped(self.unclear)
        self.configs = {each["id"]: each["config"] for each in self.stored["nodes"]}

    def interpreter(self) -> Interpreter:
        return Interpreter(self.what, INPUT, POLICY.max_iterations)
