"""A server, a pooler, drivers, and what is done to them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg2

from dray.store.client.client import Client
from dray.store.connection import connect
from dray.store.embedded import EmbeddedPostgres
from dray.store.migrate import migrate
from tests.chaos.drivers import DriverProcess
from tests.chaos.plan import DRIVERS, LEASE, Step
from tests.chaos.pooler import PROGRAM, pooler
from tests.chaos.shapes import apply_all
from tests.chaos.transitions import LOG
from tests.pg import Sql

# What is committed must survive the server's own death, not the machine's.
SERVER = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on", "max_connections": "200",
          "track_commit_timestamp": "on", "log_min_messages": "fatal"}  # fmt: skip
DISK = 24 << 20  # bytes of the disk that gets full
END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# What keeps nobody from taking over what a dead driver held, but for the rows that it has locked.
QUIET = frozenset({"kill", "hold_executions", "hold_dead", "burst", "pause_queue", "terminate"})
RECOVERY = LEASE + 2  # seconds; a driver looks every second
FORGOTTEN = """
    SELECT e.id::text, extract(epoch FROM clock_timestamp() - d.lease_until)::float8
    FROM dray.execution e JOIN dray.driver d ON d.id = e.owner
    WHERE d.lease_until < clock_timestamp() - %s * interval '1 second' AND EXISTS (SELECT FROM dray.driver o
        WHERE o.pid = ANY (%s) AND o.lease_until > clock_timestamp()
            AND o.started_at < clock_timestamp() - interval '5 s')
    FOR NO KEY UPDATE OF e SKIP LOCKED
"""
ERRORS = (psycopg2.Error, OSError)


class World:
    """late: processes that stood still or lost their lease. wrong: what went wrong outside the database."""

    def __init__(self, executor: str, stack: ExitStack) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dray-chaos-", dir="/tmp"))
        self.folder.chmod(0o755)
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.server = EmbeddedPostgres(self.folder / "pg", SERVER)
        stack.callback(self.server.stop, immediate=True)
        self.url = self.server.start()
        engine = connect(self.url, pool_size=1)
        migrate(engine)
        Sql(engine)(LOG)
        engine.dispose()
        with Client(self.url) as client:
            apply_all(client)
            client.limit_queue("small", concurrency=2)
        self.disk = self._small_disk(stack)
        self._pooled = stack.enter_context(pooler(self.url, 10)) if PROGRAM is not None else None
        self._executor = executor
        self._lots = random.Random(0)
        self._count = threading.Lock()
        self._loud = 0  # disturbances now that may keep drivers from recovering what dead ones held
        self._calm_since = time.monotonic()
        self._of = [threading.Lock() for _ in range(DRIVERS)]  # nobody kills a driver that another tells to end
        self._server = threading.Lock()  # nobody starts it while another stops it
        self._threads: list[threading.Thread] = []
        self.drivers: list[DriverProcess] = []
        self.all: list[DriverProcess] = []
        self.stopped: set[int] = set()
        self.wrong: list[str] = []
        self._forgotten: dict[str, float] = {}  # execution -> since when nobody takes it over
        self._reported: set[str] = set()
        self._standing: set[int] = set()
        self._told: set[int] = set()  # processes that we killed
        stack.callback(self._end)
        self.drivers = [self._start(number) for number in range(DRIVERS)]

    def without(self) -> frozenset[str]:
        return frozenset() if self.disk is not None else frozenset({"full"})

    def _small_disk(self, stack: ExitStack) -> Path | None:
        """A tablespace of a few megabytes for checkpoints, where one may mount a tmpfs."""
        disk = self.folder / "disk"
        disk.mkdir()
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "dray-chaos", str(disk)],
                              capture_output=True, check=False)  # fmt: skip
        if made.returncode != 0:
            return None
        stack.callback(subprocess.run, ["umount", "-l", str(disk)], capture_output=True, check=False)
        data = disk / "data"
        data.mkdir(mode=0o700)
        owner = self.server.data.stat()
        os.chown(data, owner.st_uid, owner.st_gid)
        self.sql(f"CREATE TABLESPACE small LOCATION '{data}'")
        self.sql("ALTER TABLE dray.checkpoint SET TABLESPACE small")
        return disk

    def _start(self, number: int) -> DriverProcess:
        """The second driver goes through the pooler."""
        url = self._pooled if number == 1 and self._pooled is not None else self.url
        ray: dict[str, object] = {} if self._executor == "local" else {"ray_num_cpus": 1, "runners": 1}
        started = DriverProcess(
            url, self.folder, executor=self._executor, lease_ttl=LEASE, heartbeat=0.5, retry_delay=0.2, concurrency=40,
            claim_batch=10, drain_timeout=1, queues="default,small", poll_interval=0.5, **ray,
        )  # fmt: skip
        self.all.append(started)
        return started

    # Doing

    def do(self, step: Step) -> None:
        self._lots = random.Random(step.lot)
        thread = threading.Thread(target=self._safely, args=(getattr(self, f"_{step.what}"), step), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _safely(self, action: Callable[[Step], None], step: Step) -> None:
        loud = step.what not in QUIET
        with self._count:
            self._loud += loud
        try:
            action(step)
        except ERRORS:  # another disturbance was in the way of this one
            pass
        except Exception as error:
            self.wrong.append(f"harness: {step.what}: {type(error).__name__}: {error}")
        with self._count:
            self._loud -= loud
            self._calm_since = time.monotonic() if loud else self._calm_since

    def _connect(self, autocommit: bool) -> Any:
        found = psycopg2.connect(self.url, connect_timeout=5, options="-c statement_timeout=0")
        found.autocommit = autocommit
        return found

    def sql(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        found = self._connect(autocommit=True)
        try:
            with found.cursor() as cursor:
                cursor.execute(statement, given or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            found.close()

    def _kill(self, step: Step) -> None:
        with self._of[step.driver]:
            victim = self.drivers[step.driver]
            self._told.add(victim.process.pid)
            victim.kill()
            time.sleep(step.lasts)
            self.drivers[step.driver] = self._start(step.driver)

    def _terminate(self, step: Step) -> None:
        with self._of[step.driver]:
            victim = self.drivers[step.driver]
            if victim.process.poll() is None:
                self._told.add(victim.process.pid)
                victim.process.send_signal(signal.SIGCONT)
                self._expect_0(victim)
                time.sleep(step.lasts)
                self.drivers[step.driver] = self._start(step.driver)

    def _expect_0(self, victim: DriverProcess) -> None:
        starting = "Workflow worker started" not in victim.said
        victim.process.send_signal(signal.SIGTERM)
        try:
            code = victim.process.wait(60)
        except subprocess.TimeoutExpired:
            self.wrong.append(f"exit: process {victim.process.pid} did not end within 60 s of SIGTERM")
            victim.kill()
            return
        # A process that Python itself has not yet set up dies of the signal.
        if code != 0 and not (starting and code == -signal.SIGTERM):
            self.wrong.append(
                f"exit: process {victim.process.pid} ended with {code} after SIGTERM:\n{victim.said[-3000:]}"
            )

    def _stop(self, step: Step) -> None:
        victim = self.drivers[step.driver].process
        if victim.poll() is None:
            self.stopped.add(victim.pid)
            self._standing.add(victim.pid)
            victim.send_signal(signal.SIGSTOP)
            time.sleep(step.lasts)
            self._standing.discard(victim.pid)
            with suppress(ProcessLookupError):
                victim.send_signal(signal.SIGCONT)

    def _restart(self, step: Step) -> None:
        with self._server:
            self.server.stop(immediate=True)
            time.sleep(step.lasts)
            self.server.start()

    _outage = _restart

    def _backends(self, step: Step) -> None:
        self.sql(f"{END} AND random() < %s", 0.3 + step.lot)

    def _hold(self, step: Step, statement: str) -> None:
        """A transaction that somebody opened, and thinks about."""
        found = self._connect(autocommit=False)
        try:
            with found.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '2s'")
                cursor.execute(statement)
                time.sleep(step.lasts)
            found.commit() if step.lot < 0.5 else found.rollback()
        finally:
            found.close()

    def _hold_executions(self, step: Step) -> None:
        self._hold(step, "SELECT dray.signal(e.id, 'nobody waits for it') FROM (SELECT id FROM dray.execution "
                         "WHERE status = 'running' ORDER BY random() LIMIT 15) e ORDER BY e.id")  # fmt: skip

    def _hold_dead(self, step: Step) -> None:
        """One that is locked, of a driver that dies."""
        victim = self.drivers[step.driver].process.pid
        its = f"SELECT e.id FROM dray.execution e JOIN dray.driver d ON d.id = e.owner WHERE d.pid = {victim}"
        statement = f"SELECT dray.signal(e.id, 'nobody waits for it') FROM ({its} ORDER BY e.id DESC LIMIT 1) e"
        thread = threading.Thread(target=self._hold_safely, args=(step, statement), daemon=True)
        thread.start()
        time.sleep(0.3)
        self._kill(step._replace(lasts=LEASE))
        thread.join()

    def _hold_safely(self, step: Step, statement: str) -> None:
        with suppress(*ERRORS):
            self._hold(step, statement)

    def _hold_queue(self, step: Step) -> None:
        self._hold(step._replace(lot=1.0), f"SELECT dray.pause_queue('{'small' if step.lot < 0.5 else 'default'}')")

    def _hold_driver(self, step: Step) -> None:
        self._hold(step, "SELECT 1 FROM (SELECT * FROM dray.driver ORDER BY id LIMIT 1) d FOR SHARE")

    def _lock_records(self, step: Step) -> None:
        self._hold(step, "LOCK TABLE dray.checkpoint IN EXCLUSIVE MODE")

    def _short_statements(self, step: Step) -> None:
        self.sql("ALTER DATABASE postgres SET statement_timeout = '40ms'")
        self._backends(step._replace(lot=1.0))
        time.sleep(step.lasts)
        self._let_statements_be()

    def _let_statements_be(self) -> None:
        self.sql("ALTER DATABASE postgres RESET statement_timeout")
        self.sql(END)

    def _full(self, step: Step) -> None:
        assert self.disk is not None
        filler = self.disk / "filler"
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        time.sleep(step.lasts)
        filler.unlink(missing_ok=True)

    def _pause_queue(self, step: Step) -> None:
        queue = "small" if step.lot < 0.5 else "default"
        self.sql("SELECT dray.pause_queue(%s)", queue)
        time.sleep(step.lasts)
        self.sql("SELECT dray.resume_queue(%s)", queue)

    def _burst(self, step: Step) -> None:
        """Signals that nobody waits for, hundreds a second, to whatever runs."""
        found = self._connect(autocommit=True)
        until = time.monotonic() + step.lasts
        try:
            with found.cursor() as cursor:
                while time.monotonic() < until:
                    cursor.execute(
                        "SELECT dray.signal(id, 'noise') FROM dray.execution WHERE status = 'running' LIMIT 20"
                    )
                    time.sleep(0.02)
        finally:
            found.close()

    # Coming to rest

    def heal(self) -> None:
        """Nothing disturbs any more, and there are drivers that can work."""
        for each in self._threads:
            each.join(90)
        self._threads.clear()
        with self._server:
            self.server.start()
        self._let_statements_be()
        if self.disk is not None:
            (self.disk / "filler").unlink(missing_ok=True)
        self.sql("SELECT dray.resume_queue('small'), dray.resume_queue('default')")
        for number, each in enumerate(self.drivers):
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGCONT)
            else:
                self.drivers[number] = self._start(number)

    def look(self) -> None:
        """A driver that ended by itself."""
        for number, each in enumerate(self.drivers):
            process = each.process
            if process.poll() is not None and process.pid not in self._told:
                self._told.add(process.pid)
                self.wrong.append(
                    f"exit: process {process.pid} ended by itself with {process.returncode}:\n{each.said[-3000:]}"
                )
                self.drivers[number] = self._start(number)

    def look_for_forgotten(self) -> None:
        """What a dead driver held is taken over, whoever keeps other rows locked."""
        now = time.monotonic()
        working = [each.process.pid for each in self.drivers if each.process.poll() is None]
        working = [pid for pid in working if pid not in self._standing]
        rows = []
        if not self._loud and now - self._calm_since > RECOVERY and working:
            with suppress(*ERRORS):
                rows = self.sql(FORGOTTEN, RECOVERY, working)
        self._forgotten = {row[0]: self._forgotten.get(row[0], now) for row in rows}
        long = sorted(each for each, since in self._forgotten.items() if now - since > 2.0)
        if long and not self._loud and not self._reported.issuperset(long):
            self._reported.update(long)
            late = f"{rows[0][1]:.1f} s after its lease"
            told = (
                f"{len(long)} executions of a dead driver, not locked by anybody, are not taken over {late}: {long[:3]}"
            )
            self.wrong.append(f"recovery: {told}")

    def finish(self) -> None:
        for each in self.drivers:
            if each.process.poll() is None:
                self._told.add(each.process.pid)
                self._expect_0(each)
        for each in self.all:
            size = each.log.stat().st_size
            if size > 5_000_000:
                self.wrong.append(f"log: process {each.process.pid} wrote {size} bytes; the last: {each.said[-500:]}")
            said = each.said.splitlines()
            for before, (number, line) in zip(said, enumerate(said[1:], 1), strict=False):
                if line.startswith("Traceback") and "handler failed" not in before:  # of a handler it is told
                    told = "\n".join(said[max(0, number - 3) : number + 40])
                    self.wrong.append(f"traceback: process {each.process.pid}:\n{told}")
                    break

    def late(self) -> set[int]:
        lost = {each.process.pid for each in self.all if "the lease is lost" in each.said}
        return self.stopped | lost

    def _end(self) -> None:
        for each in self.all:
            if each.process.poll() is None:
                each.kill()
