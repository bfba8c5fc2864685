"""pgqueuer (https://github.com/janbjorge/pgqueuer) at the same work.

`python -m benchmarks.peers.pgqueuer_peer --url ...`

It is a queue: one row per job, deleted when the job is done, with three rows in its log. It keeps no outcome and knows
no graph, so there is no W10, and WIDE is 1,000 jobs.

How it is tuned, after its own benchmark: asyncpg and uvloop, batches of 1,000 jobs. Each process has one consumer,
which waits on LISTEN before the work comes; two to five in one process were as fast with one process, slower with two.
The jobs are enqueued beforehand in one transaction, which the run commits.
Durability: all its tables logged (its default), and what Postgres does by default.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import asyncpg
import uvloop
from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.child import HARNESS, Options, Span, serve

BATCH = 1000
CONSUMERS = 1
POLL = 0.05
# Finer for the single run of 1,000 jobs, whose end is what is measured.
WIDE, WIDE_POLL = 1000, 0.002

# The log's last id says that the run's jobs are visible at all; the table of jobs, that all of them are done.
_DONE = "SELECT NOT EXISTS (SELECT 1 FROM pgqueuer) AND (SELECT max(id) FROM pgqueuer_log) > $1"
_LAST = "SELECT coalesce(max(id), 0) FROM pgqueuer_log"
_SPAN = """SELECT extract(epoch FROM min(created) FILTER (WHERE status = 'picked'))::float8 AS began,
    extract(epoch FROM max(created) FILTER (WHERE status = 'successful'))::float8 AS ended,
    count(*) FILTER (WHERE status = 'successful') AS done FROM pgqueuer_log WHERE id > $1"""

Answer = TypeVar("Answer")


class PgQueuerPeer:
    def __init__(self, options: Options) -> None:
        logging.disable(logging.WARNING)
        self._options = options
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._consumers: list[tuple[PgQueuer, asyncio.Task[None]]] = []
        self._mark = 0
        self._wait(self._open())

    def prepare(self, bench: str, count: int) -> None:
        self._wait(self._prepare(count))

    def run(self, bench: str, count: int) -> None:
        self._wait(self._run())

    def span(self, bench: str, count: int) -> Span:
        return self._wait(self._span(count))

    def latencies(self, bench: str, count: int) -> list[float]:
        return [self._wait(self._wide()) for _ in range(count)]

    def close(self) -> None:
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _wait(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> None:
        self._connection = await asyncpg.connect(self._options.url, server_settings={"application_name": HARNESS})
        self._queries = Queries.from_asyncpg_connection(self._connection)
        if self._options.index == 0:
            await self._queries.install()
        for _ in range(CONSUMERS):
            consumer = PgQueuer(AsyncpgDriver(await asyncpg.connect(self._options.url)))
            consumer.entrypoint("node")(_node)
            self._consumers.append((consumer, asyncio.create_task(consumer.run(batch_size=BATCH))))
        await asyncio.sleep(0.5)  # until all listen; nothing tells

    async def _prepare(self, count: int) -> None:
        self._mark = await self._connection.fetchval(_LAST)
        if self._options.index == 0:
            self._transaction = self._connection.transaction()
            await self._transaction.start()
            await self._enqueue(count)

    async def _enqueue(self, count: int) -> None:
        await self._queries.enqueue(["node"] * count, [b"{}"] * count, [0] * count)

    async def _run(self) -> None:
        if self._options.index == 0:
            await self._transaction.commit()
        await self._finished(POLL)

    async def _span(self, count: int) -> Span:
        found = await self._connection.fetchrow(_SPAN, self._mark)
        if found["done"] != count:
            raise RuntimeError(f"{found['done']} of {count} jobs succeeded")
        return Span(found["began"], found["ended"])

    async def _finished(self, pause: float) -> None:
        while not await self._connection.fetchval(_DONE, self._mark):
            await asyncio.sleep(pause)

    async def _wide(self) -> float:
        self._mark = await self._connection.fetchval(_LAST)
        began = time.perf_counter()
        await self._enqueue(WIDE)
        await self._finished(WIDE_POLL)
        return time.perf_counter() - began

    async def _close(self) -> None:
        for consumer, _ in self._consumers:
            consumer.shutdown.set()
        await asyncio.gather(*(task for _, task in self._consumers), return_exceptions=True)
        await self._connection.close()


async def _node(job: Job) -> None:
    pass


if __name__ == "__main__":
    serve(PgQueuerPeer)
