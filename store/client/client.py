"""The client: submit executions and look at them, from any Python program. Imports no Ray.

    client = Client("postgresql://...")
    id = client.submit("orders", {"n": 1})
    print(client.wait(id).output)

Given a Connection, everything happens inside the caller's own transaction: what is submitted there exists once that
transaction commits, and never if it does not. Every method raises StoreError (store/errors.py) and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from dray.store.arrays import texts
from dray.store.client.base import json_text, uuid_text
from dray.store.client.control import ControlClient
from dray.store.client.queues import QueueClient
from dray.store.client.retention import RetentionClient
from dray.store.client.schedules import ScheduleClient
from dray.store.client.signals import SignalClient
from dray.store.errors import ExecutionNotFound, StoreError, WaitTimeout, WorkflowNotFound
from dray.store.records import FINAL, StoredWorkflow

FIRST_LOOK = 0.005  # seconds between two looks of wait(), growing to
LONGEST_LOOK = 0.5
LAST_MILLISECOND = 253_402_300_799_000  # of the year 9999


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution as it stood when it was asked for. Times have a zone. priority: higher runs first.

    error: {"type", "message", "node"?} of a failed one. output: of its end node, or an object by node id where the
    graph has several ends; None until completed. source_id: the execution that it repeats. cancelled_by: {"at", "role",
    "by", "reason", "execution"}: who had it cancelled, or the execution above it that took it along. input, output and
    cancelled_by are left out (None) in lists.
    """

    id: str
    workflow: str
    version: int
    status: str
    priority: int
    queue: str
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    wake_at: datetime | None
    claim_count: int
    crash_count: int
    error: dict[str, Any] | None
    labels: dict[str, Any] | None
    source_id: str | None = None
    input: Any = None
    output: Any = None
    cancelled_by: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was recorded of one attempt of one node. kind: completed, waiting, awaiting, retried, lost, started,
    failed or dropped.

    outcome: the output, or the error {"type", "message", "node"}. runner, ray_node, host, pid: where it ran; None for
    what needs no runner.
    """

    node_key: str
    attempt: int
    kind: str
    branch: str | None
    outcome: Any
    at: datetime
    duration_ms: int | None
    wake_at: datetime | None
    runner: str | None
    ray_node: str | None
    host: str | None
    pid: int | None


# Inside the class `list` is a method.
Ids: TypeAlias = list[str]
Executions: TypeAlias = list[Execution]
Attempts: TypeAlias = list[Attempt]
Workflows: TypeAlias = list[StoredWorkflow]
Rows: TypeAlias = list[Any]


class Client(ControlClient, QueueClient, RetentionClient, ScheduleClient, SignalClient):
    """Submit, look, signal, stop and repeat, store workflows, schedule them, hold and limit queues, prune."""

    # Executions

    def submit(
        self,
        workflow: str,
        input: Any = None,  # noqa: A002 - the word for it
        *,
        priority: int | str | None = None,
        queue: str = "default",
        run_at: datetime | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, Any] | None = None,
        tenant: str | None = None,
        concurrency_key: str | None = None,
        idempotency_window: timedelta | None = timedelta(hours=24),
    ) -> str:
        """Start an execution of the latest version of a workflow; gives its id.

        input: any JSON value, None = {}. priority: LOW, NORMAL, HIGH, CRITICAL or a number; None = that of the input,
        else NORMAL. run_at: not before; without a zone it is local time. idempotency_key: another submit to this
        workflow with the same key within idempotency_window (None = for ever) gives the id of the first. tenant,
        concurrency_key: None = as the workflow says (docs/queues.md). Raises WorkflowNotFound, DataRefused.
        """
        given = {
            "workflow": workflow,
            "input": None if input is None else json_text(input, "input"),
            "priority": None if priority is None else str(priority),
            "queue": queue,
            "run_at": None if run_at is None else run_at.astimezone(),
            "idempotency_key": idempotency_key,
            "labels": None if labels is None else json_text(labels, "labels"),
            "tenant": tenant,
            "concurrency_key": concurrency_key,
            "idempotency_window": idempotency_window,
        }
        with _known(workflow):
            return str(self._ask("submit", given)[0][0])

    def submit_many(
        self,
        workflow: str,
        inputs: Iterable[Any],
        *,
        priority: int | str | None = None,
        queue: str = "default",
        labels: Mapping[str, Any] | None = None,
        tenant: str | None = None,
        concurrency_key: str | None = None,
    ) -> Ids:
        """Start one execution for each input, thousands in one call, all or none; gives their ids in that order."""
        found = [json_text({} if each is None else each, f"inputs[{index}]") for index, each in enumerate(inputs)]
        if not found:
            return []
        given = {
            "workflow": workflow,
            "inputs": texts(found),
            "priority": None if priority is None else str(priority),
            "queue": queue,
            "labels": None if labels is None else json_text(labels, "labels"),
            "tenant": tenant,
            "concurrency_key": concurrency_key,
        }
        with _known(workflow):
            return [row[0] for row in self._ask("submit_many", given)]

    def get(self, execution: str) -> Execution:
        """One execution, with input and output. Raises ExecutionNotFound."""
        rows = self._ask("get_execution", {"id": uuid_text(execution)})
        if not rows:
            raise ExecutionNotFound(execution)
        return _execution(rows[0])

    def attempts(self, execution: str) -> Attempts:
        """All that is recorded of its nodes, in the order of recording. Empty also for an unknown execution."""
        return [Attempt(*row) for row in self._ask("list_attempts", {"id": uuid_text(execution)})]

    def wait(self, execution: str, timeout: float | None = None) -> Execution:
        """The execution once it has ended, whatever its end. timeout: seconds, None = for ever.

        Raises WaitTimeout, ExecutionNotFound. Not for a Connection inside a transaction, which may never see the end.
        """
        until = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_LOOK
        while True:
            rows = self._ask("get_status", {"id": uuid_text(execution)})
            if not rows:
                raise ExecutionNotFound(execution)
            if rows[0][0] in FINAL:
                return self.get(execution)
            if until is not None and time.monotonic() + pause > until:
                raise WaitTimeout(execution, rows[0][0], timeout or 0.0)
            time.sleep(pause)
            pause = min(LONGEST_LOOK, pause * 1.2)

    def list(
        self,
        workflow: str | None = None,
        status: str | Iterable[str] | None = None,
        labels: Mapping[str, Any] | None = None,
        limit: int = 50,
        before: str | None = None,
        *,
        queue: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Executions:
        """Executions without input and output, the newest first. before: an id, to go on with older ones. since, until:
        when they were submitted; until that moment, without it. Without a zone a time is local time."""
        given = {
            "workflow": workflow,
            "statuses": None if status is None else [status] if isinstance(status, str) else [*status],
            "queue": queue,
            "since": None if since is None else since.astimezone(),
            "until": None if until is None else until.astimezone(),
            "labels": None if labels is None else json_text(labels, "labels"),
            "limit": limit,
            "before": None if before is None else uuid_text(before),
        }
        return [_execution((*row, None, None)) for row in self._ask("list_executions", given)]

    # Workflows

    def apply_workflow(self, name: str, graph: Mapping[str, Any]) -> tuple[int, int, bool]:
        """Store a graph as the next version; gives (id, version, whether it is new). The latest version's graph again
        makes no new version. graph: canonical, as dray.canonical_graph() makes it: here nobody checks it. Raises
        DataRefused for what is in another form."""
        ((found, version, created, _),) = self._ask(
            "apply_workflow", {"name": name, "graph": json_text(graph, "graph")}
        )
        return found, version, created

    def workflows(self) -> Workflows:
        """All workflows in their latest version, by name."""
        return [StoredWorkflow(*row) for row in self._ask("list_workflows", {})]

    def workflow(self, name: str, version: int | None = None) -> StoredWorkflow:
        """One workflow; version None = the latest. Raises WorkflowNotFound."""
        rows = self._ask("get_workflow", {"name": name, "version": version})
        if not rows:
            raise WorkflowNotFound(name, version)
        return StoredWorkflow(*rows[0])

    # The whole

    def stats(self) -> dict[str, Any]:
        """{"queues": {queue: {status: count}}, "oldest_queued_seconds": {queue: seconds}, "open": {queue: {"queued",
        "running", "waiting", "paused", "oldest_seconds", "finished_per_minute"}} as dray.queue_stats has it,
        "drivers": [{"id", "host", "pid", "started_at", "lease_seconds", "executions", "info"}]}; lease_seconds: left,
        negative = about to be reaped."""
        queues: dict[str, dict[str, int]] = {}
        for queue, status, count in self._ask("count_executions", {}):
            queues.setdefault(queue, {})[status] = count
        counted = ("queued", "running", "waiting", "paused", "oldest_seconds", "finished_per_minute")
        names = ("id", "host", "pid", "started_at", "lease_seconds", "executions", "info")
        return {
            "queues": queues,
            "oldest_queued_seconds": dict(self._ask("oldest_queued", {})),
            "open": {row[0]: dict(zip(counted, row[1:], strict=True)) for row in self._ask("queue_rates", {})},
            "drivers": [dict(zip(names, row, strict=True)) for row in self._ask("list_drivers", {})],
        }


@contextmanager
def _known(workflow: str) -> Iterator[None]:
    """dray.submit raises no_data_found for a workflow that is not there."""
    try:
        yield
    except StoreError as error:
        if error.sqlstate == "P0002":
            raise WorkflowNotFound(workflow) from None
        raise


def _execution(row: tuple[Any, ...]) -> Execution:
    head, tail = row[:6], row[6:]
    # The first 48 bits of an id of version 7 are the milliseconds of its making; of a foreign id they are anything.
    milliseconds = min(int(head[0].replace("-", "")[:12], 16), LAST_MILLISECOND)
    made = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return Execution(*(*head, made, *tail))
