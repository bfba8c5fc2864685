"""What the nodes answer, scripted by a seed; and whether what they were given is what the page says."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

from dray.actors.expressions.config import CompiledConfig, compile_config, evaluate
from dray.actors.messages import NodeFailure, NodeResult, NodeTask
from dray.actors.runner.call import Scope as TaskScope
from tests.oracle.case import Difference, Open
from tests.oracle.interpreter import Interpreter
from tests.oracle.reading import same


class Answers:
    """The part of a Drive that stands for the runners."""

    seed: str
    failing: float
    nodes: dict[str, Any]
    configs: dict[str, Any]
    oracle: Interpreter

    def reply(self, key: str, task: NodeTask) -> tuple[str, tuple[Any, ...], NodeResult]:
        scope, unit = self.oracle.place(key)
        node = self.nodes[unit]
        chance = random.Random(f"{self.seed} {key} {task.attempt}")
        config = (
            compiled(json.dumps(self.configs[unit])).render(TaskScope(task))
            if has_template(self.configs[unit])
            else self.configs[unit]
        )
        wanted = self.oracle.reader.render(scope, unit, node.get("config", {}))
        for name in ("reads", "variable_value"):
            if name in wanted and not same(wanted[name], config[name]):
                raise Difference(f"{key} reads {config[name]}, page {wanted[name]}")
        kind = node["type"]
        if kind == "set_variable":
            return completed(
                {"variable_name": config["variable_name"], "value": config["variable_value"], "scope": "workflow"}
            )
        if kind in ("condition", "if"):
            branch = chance.choice(["true", "false"])
            return completed({"condition_result": branch == "true", "branch": branch}, branch)
        if kind == "switch":
            branch = chance.choice(["a", "b", "c", "default"])
            return completed({"case": branch}, branch)
        if kind == "merge":
            found, expected = [[name, json.loads(text)] for name, text in task.inputs], self.oracle.merged(scope, unit)
            if self.oracle.any_order(scope, unit):
                expected, found = sorted(expected, key=str), sorted(found, key=str)
            if not same(expected, found):
                raise Difference(f"{key} merges {found}, page {expected}")
            return completed({"result": [value for _, value in found], "count": len(found)})
        if kind in ("catch", "finally"):
            return self.handle(key, kind, node, task)
        return self.work(chance, key)

    def work(self, chance: random.Random, key: str) -> tuple[str, tuple[Any, ...], NodeResult]:
        roll = chance.random()
        if roll < self.failing:
            kind, again = chance.choice(["Boom", "Odd", "timeout"]), chance.random() < 0.5
            message = f"of {key}"
            return "failed", (kind, message, again), NodeResult(0, failure=NodeFailure(kind, message, again))
        output = {"key": key, "n": chance.choice([1, 2])}
        if roll > 0.93:
            return "waits", (output, None), NodeResult(0, json.dumps(output), wait=5.0)
        return completed(output)

    def handle(
        self, key: str, kind: str, node: dict[str, Any], task: NodeTask
    ) -> tuple[str, tuple[Any, ...], NodeResult]:
        """As the page has it of catch and finally, without their texts."""
        scope, unit = self.oracle.place(key)
        error = None if task.error is None else json.loads(task.error)
        failure = self.oracle.takes_on(scope, unit)
        handed = failure.told if failure else None
        if not same(handed, error):
            raise Difference(f"{key} is handed {error}, page {handed}")
        if error is not None and (
            kind == "finally" or node["config"].get("error_type", error["type"]) != error["type"]
        ):
            again = NodeFailure(error["type"], error["message"], False, node=error["node"])
            return "failed", (error["type"], error["message"], False, error["node"]), NodeResult(0, failure=again)
        if kind == "finally":
            return completed({"result": None})
        branch = "passed" if error is None else "caught"
        return completed({"caught": error is not None, "error": error, "result": None}, branch)


def completed(output: Any, branch: str | None = None) -> tuple[str, tuple[Any, ...], NodeResult]:
    return "completed", (output, branch), NodeResult(0, json.dumps(output), branch)


@cache
def compiled(config: str) -> CompiledConfig:
    return compile_config(json.loads(config), Open)


def has_template(config: Any) -> bool:
    return "{{" in str(config)


def loop_answer(config: dict[str, Any], kind: str, task: NodeTask) -> NodeResult:
    kind = config.get("loop_type", "for") if kind == "loop" else kind
    scope = TaskScope(task)
    if kind == "while":
        value = evaluate(config["condition_expression"], scope, strict=False)
        return NodeResult(0, "null", "body" if value else "done")
    if kind == "repeat":
        count = config["repeat_count"]
        return NodeResult(0, json.dumps({"count": evaluate(count, scope) if isinstance(count, str) else count}))
    items = config["array_expression"]
    return NodeResult(0, json.dumps({"items": evaluate(items, scope) if isinstance(items, str) else items}))
