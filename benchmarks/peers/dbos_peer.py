"""DBOS (https://docs.dbos.dev) at the same work. `python -m benchmarks.peers.dbos_peer --url ...`

How it is tuned:
- Synchronous workflows and steps, few threads and few connections: DBOS runs one workflow per thread, and beyond a
  handful of them they only wait for Python's lock. Its defaults are an endless thread pool and 20 connections.
- W1 and W10 are enqueued beforehand in one transaction, which the run commits. The queue is polled every 10 ms (default
  1 s) and has no limits, so that all are dequeued at once. Against a direct call that saves the insert of the workflow.
  With two processes each has a queue of its own, so that neither takes the other's share.
- LAT1 and LAT10 call the workflow in the same process, which is DBOS's fastest way: no queue, no other process.
- WIDE is one workflow with 1,000 asynchronous steps under asyncio.gather. Synchronous code would fan out into child
  workflows on a queue, which is three transactions for each instead of two.
- No logging below errors, no tracing.
Durability: what Postgres does by default.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from urllib.parse import urlsplit

import sqlalchemy
from dbos import DBOS, DBOSClient

from benchmarks.child import HARNESS, Options, Span, serve, share

THREADS = 3
CONNECTIONS = 4
POLL = 0.01
OUTCOME = {"value": "x" * 80, "ok": True}
LENGTH = {"W1": 1, "W10": 10, "LAT1": 1, "LAT10": 10}

_UNFINISHED = sqlalchemy.text(
    "SELECT count(*) FROM dbos.workflow_status WHERE queue_name = :queue AND status IN ('ENQUEUED', 'PENDING')"
)
_SPAN = sqlalchemy.text(
    "SELECT min(started_at_epoch_ms) / 1000.0, max(completed_at) / 1000.0, count(*) FILTER (WHERE status = 'SUCCESS') "
    "FROM dbos.workflow_status WHERE workflow_uuid LIKE :ids"
)


@DBOS.step()
def node(number: int) -> dict[str, object]:
    return {**OUTCOME, "number": number}


@DBOS.step()
async def async_node(number: int) -> dict[str, object]:
    return {**OUTCOME, "number": number}


@DBOS.workflow()
def line(length: int) -> int:
    for number in range(length):
        node(number)
    return length


@DBOS.workflow()
async def wide(width: int) -> int:
    return len(await asyncio.gather(*(async_node(number) for number in range(width))))


class Dbos:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._queue = f"bench-{options.index}"
        url = options.url.replace(urlsplit(options.url).scheme, "postgresql+psycopg", 1)
        self._engine = sqlalchemy.create_engine(url, connect_args={"application_name": HARNESS})
        self._transaction: sqlalchemy.Connection | None = None
        self._ids = ""
        DBOS(
            config={
                "name": "bench",
                "system_database_url": options.url,
                "sys_db_pool_size": CONNECTIONS,
                "db_engine_kwargs": {"pool_pre_ping": False},
                "max_executor_threads": THREADS,
                "application_version": "1",
                "executor_id": f"process-{options.index}",
                "log_level": "ERROR",
            }
        )
        DBOS.listen_queues([self._queue])
        DBOS.launch()
        DBOS.register_queue(self._queue, polling_interval_sec=POLL)
        self._client = DBOSClient(system_database_url=options.url)
        # The queue's thread starts within a second of its registration; this returns when it runs.
        DBOS.enqueue_workflow(self._queue, line, 1).get_result()

    def prepare(self, bench: str, count: int) -> None:
        self._ids = f"{bench}-{self._options.index}-{uuid.uuid4()}"
        self._transaction = self._engine.connect()
        for number in range(share(count, self._options)):
            self._client.enqueue_in_transaction(
                self._transaction,
                {
                    "workflow_name": line.__qualname__,
                    "queue_name": self._queue,
                    "workflow_id": f"{self._ids}-{number}",
                    "app_version": "1",
                    "application_name": "bench",
                },
                LENGTH[bench],
            )

    def run(self, bench: str, count: int) -> None:
        assert self._transaction is not None
        self._transaction.commit()
        self._transaction.close()
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while connection.execute(_UNFINISHED, {"queue": self._queue}).scalar_one():
                time.sleep(0.05)

    def span(self, bench: str, count: int) -> Span:
        with self._engine.connect() as connection:
            began, ended, succeeded = connection.execute(_SPAN, {"ids": f"{self._ids}-%"}).one()
        if succeeded != share(count, self._options):
            raise RuntimeError(f"{succeeded} of {share(count, self._options)} workflows succeeded")
        return Span(float(began), float(ended))

    def latencies(self, bench: str, count: int) -> list[float]:
        return [asyncio.run(_timed_wide()) if bench == "WIDE" else _timed(LENGTH[bench]) for _ in range(count)]

    def close(self) -> None:
        DBOS.destroy()


def _timed(length: int) -> float:
    began = time.perf_counter()
    line(length)
    return time.perf_counter() - began


async def _timed_wide() -> float:
    began = time.perf_counter()
    await wide(1000)
    return time.perf_counter() - began


if __name__ == "__main__":
    serve(Dbos)
