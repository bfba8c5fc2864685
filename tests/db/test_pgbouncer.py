"""Everything a driver and a client do works through a pooler that gives each transaction another session."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.cluster.schedules import Timing
from dray.store.client.client import Client
from dray.store.connection import connect, wait_until_up
from dray.store.migrate import migrate, verify
from dray.store.url import DatabaseURL
from tests.chaos.drivers import PATIENCE, driver
from tests.chaos.test_failpoints import check_promises, submit
from tests.pg import Sql

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed (apt-get install pgbouncer)"),
]

# Two sessions for everybody: a statement that relied on its session would soon meet another's.
CONFIG = """
[databases]
* = host={host} port=5432 user=postgres pool_size=2
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
pool_mode = transaction
max_client_conn = 100
server_reset_query_always = 1
server_reset_query = DISCARD ALL
"""


@pytest.fixture
def pooled(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of this test's database behind PgBouncer in transaction mode."""
    if "host" not in DatabaseURL.of(database).url.query:
        pytest.skip("TEST_SERVER is not on a socket")
    folder = Path("/tmp", f"dray-pgbouncer-{os.getpid()}")  # a socket's path must be short
    folder.mkdir(mode=0o777)
    url = DatabaseURL.of(database)
    (folder / "pgbouncer.ini").write_text(CONFIG.format(host=url.url.query["host"], folder=folder))
    account = None
    if os.geteuid() == 0:  # it refuses to run as root, and only the server's user may reach the server's socket
        account = pwd.getpwuid(Path(str(url.url.query["host"])).stat().st_uid)
        os.chown(folder, account.pw_uid, account.pw_gid)
    process = subprocess.Popen(
        [str(PROGRAM), str(folder / "pgbouncer.ini")],
        **({} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}),
        stdin=subprocess.DEVNULL,
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        until = time.monotonic() + 30
        while not (folder / ".s.PGSQL.6432").exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.01)
        yield f"postgresql://postgres@/{url.database}?host={folder}&port=6432&pgbouncer=true"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_driver_and_its_clients_work_through_a_transaction_pooler(pooled: str, sql: Sql, tmp_path: Path) -> None:
    assert DatabaseURL.of(pooled).is_transaction_pooler
    engine = connect(pooled)
    try:
        assert wait_until_up(engine)
        migrate(engine)
        verify(engine)
    finally:
        engine.dispose()
    with Client(pooled) as client:
        ids = submit(client)
        client.apply_workflow(
            "tick", canonical({"nodes": [{"id": "a", "type": "trigger"}], "edges": []}, {**load_handlers()})
        )
        client.set_schedule("tick", "tick", Timing.every(1), overlap="allow")
        with driver(pooled, tmp_path, concurrency=20, claim_batch=10, failpoints="before_commit@5:kill") as first:
            assert first.wait_ended() == -9, first.said
        with driver(pooled, tmp_path) as second:
            check_promises(client, ids, tmp_path)
            until = time.monotonic() + PATIENCE
            while len(client.list("tick", "completed")) < 2:
                assert time.monotonic() < until, second.said
            assert second.stop() == 0, second.said
        assert client.stats()["drivers"] == []
    listening = sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dray listener'")
    assert listening == [(0,)], "nobody listens behind a pooler"
