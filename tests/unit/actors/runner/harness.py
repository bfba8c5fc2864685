"""One Runner, fed by hand."""

from __future__ import annotations

import itertools
import json
import threading
import time
from typing import Any

from dray.actors.messages import NodeResult, NodeSpec, NodeTask
from dray.actors.runner.runner import Runner

PATIENCE = 20.0  # seconds for what takes milliseconds; only a broken test waits so long


class Harness:
    """retiring: the last reason that take() gave."""

    def __init__(self, concurrency: int = 4, max_output_bytes: int = 10_000) -> None:
        self._arrived = threading.Event()
        self._ids = itertools.count(1)
        self.runner = Runner(concurrency=concurrency, max_output_bytes=max_output_bytes, on_done=self._arrived.set)
        self.results: dict[int, NodeResult] = {}
        self.retiring: str | None = None

    def start(self, node_type: str, config: Any = None, count: int = 1, **task: Any) -> list[int]:
        """Submit one batch of equal nodes; gives their ids. task: fields of NodeTask. config: a str goes as it is."""
        text = config if isinstance(config, str) else json.dumps(config or {})
        spec = NodeSpec(f"1:{node_type}:{text}", node_type, text)
        fields: dict[str, Any] = {"execution_id": "e1", "node_key": "n", "attempt": 1, "timeout": 60.0, **task}
        tasks = [NodeTask(next(self._ids), spec.key, **fields) for _ in range(count)]
        self.runner.submit([spec], tasks)
        return [each.id for each in tasks]

    def wait(self, ids: list[int]) -> list[NodeResult]:
        until = time.monotonic() + PATIENCE
        while not all(each in self.results for each in ids):
            assert self._arrived.wait(until - time.monotonic()), f"no result for {set(ids) - set(self.results)}"
            self._arrived.clear()
            self.take()
        return [self.results[each] for each in ids]

    def take(self) -> None:
        taken, self.retiring = self.runner.take()
        for result in taken:
            assert result.id not in self.results, "one result per task"
            self.results[result.id] = result

    def run(self, node_type: str, config: Any = None, **task: Any) -> NodeResult:
        return self.wait(self.start(node_type, config, **task))[0]

    def output(self, node_type: str, config: Any = None, **task: Any) -> Any:
        result = self.run(node_type, config, **task)
        assert result.failure is None, result
        assert result.output is not None
        return json.loads(result.output)
