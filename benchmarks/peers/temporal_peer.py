"""Temporal (https://docs.temporal.io) at the same work: its dev server on its own SQLite file, and a Python worker.

`python -m benchmarks.peers.temporal_peer --url ignored --folder ...`

The dev server is one program with everything in it, the only one that runs without further installation; a production
cluster on a database of its own is another thing. So it says what a person gets who tries Temporal on one machine, and
its counters in Postgres are nothing.

How it is tuned: one worker process; workflow sandbox off and workflows cached, so that no history is replayed;
activities asynchronous on the worker's loop, with room for 200 at once. The server polls its transfer queue 20 times a
second by default, which costs 50 ms per workflow task (LAT1 100 ms, LAT10 550 ms); that limit is raised. W1 and W10 are
started beforehand while no worker runs; the run starts it. No web interface, no news, no version check: it reaches
nothing but this machine. Tried without gain: autoscaled and more pollers, one partition per queue, synchronous=NORMAL.
Durability: the server's default for SQLite on a file.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.child import Options, Span, serve

QUEUE = "bench"
START_SECONDS = 60
STARTS_AT_ONCE = 32
OUTCOME = {"value": "x" * 80, "ok": True}
LENGTH = {"W1": 1, "W10": 10, "LAT1": 1, "LAT10": 10}

Answer = TypeVar("Answer")


@activity.defn
async def node(number: int) -> dict[str, Any]:
    return {**OUTCOME, "number": number}


@workflow.defn
class Line:
    @workflow.run
    async def run(self, length: int) -> int:
        for number in range(length):
            await workflow.execute_activity(node, number, start_to_close_timeout=timedelta(seconds=60))
        return length


class TemporalPeer:
    def __init__(self, options: Options) -> None:
        self._folder = Path(options.folder) / "temporal"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._loop = asyncio.new_event_loop()
        self._server = self._start_server()
        try:
            self._client = self._wait(self._connect())
            self._wait(self._warm_up())
        except BaseException:
            self.close()
            raise

    def prepare(self, bench: str, count: int) -> None:
        self._handles = self._wait(self._start(bench, count))

    def run(self, bench: str, count: int) -> None:
        self._span = self._wait(self._run())

    def span(self, bench: str, count: int) -> Span:
        return self._span

    def latencies(self, bench: str, count: int) -> list[float]:
        return self._wait(self._latencies(LENGTH[bench], count))

    def close(self) -> None:
        self._server.terminate()
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return self._loop.run_until_complete(coroutine)

    def _start_server(self) -> subprocess.Popen[bytes]:
        self._port = _free_port()
        program = Path(sys.executable).parent / "temporal"
        # A HOME of its own: its command line reads and writes a configuration there.
        environment = {"PATH": os.defpath, "HOME": str(self._folder), "TEMPORAL_VERSION_CHECK_DISABLED": "1"}
        settings = {"frontend.enableServerVersionCheck": "false", "history.transferProcessorMaxPollRPS": "1000"}
        return subprocess.Popen(
            [
                str(program), "server", "start-dev", "--headless", "--ui-disable-news-fetch", "--disable-config-file",
                "--ip", "127.0.0.1", "--port", str(self._port), "--db-filename", str(self._folder / "temporal.db"),
                "--log-level", "error",
                *(each for name, value in settings.items() for each in ("--dynamic-config-value", f"{name}={value}")),
            ],
            stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment,
        )  # fmt: skip

    async def _connect(self) -> Client:
        until = time.monotonic() + START_SECONDS
        while True:
            if self._server.poll() is not None:
                raise RuntimeError(f"temporal server ended with {self._server.returncode}")
            try:
                return await Client.connect(f"127.0.0.1:{self._port}")
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)

    async def _warm_up(self) -> None:
        """The namespace is there a moment after the port; then one workflow, which loads everything."""
        async with self._worker():
            until = time.monotonic() + START_SECONDS
            while True:
                try:
                    await self._client.execute_workflow(Line.run, 1, id=str(uuid.uuid4()), task_queue=QUEUE)
                    return
                except Exception:
                    if time.monotonic() > until:
                        raise
                    await asyncio.sleep(0.2)

    def _worker(self) -> Worker:
        return Worker(
            self._client,
            task_queue=QUEUE,
            workflows=[Line],
            activities=[node],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=10_000,
            max_concurrent_activities=200,
            max_concurrent_workflow_tasks=200,
        )

    async def _start(self, bench: str, count: int) -> list[WorkflowHandle[Any, Any]]:
        room = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start() -> WorkflowHandle[Any, Any]:
            async with room:
                return await self._client.start_workflow(
                    Line.run, LENGTH[bench], id=f"{bench}-{uuid.uuid4()}", task_queue=QUEUE
                )

        return await asyncio.gather(*(start() for _ in range(count)))

    async def _run(self) -> Span:
        began = time.time()
        async with self._worker():
            await asyncio.gather(*(handle.result() for handle in self._handles))
            ended = time.time()
        return Span(began, ended)

    async def _latencies(self, length: int, count: int) -> list[float]:
        found = []
        async with self._worker():
            for _ in range(count):
                began = time.perf_counter()
                await self._client.execute_workflow(Line.run, length, id=str(uuid.uuid4()), task_queue=QUEUE)
                found.append(time.perf_counter() - began)
        return found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    serve(TemporalPeer)
