"""PgBouncer in transaction mode before a server on a socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dray.store.url import DatabaseURL

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

# Few sessions for everybody: a statement that relied on its session would soon meet another's.
CONFIG = """
[databases]
* = host={host} port=5432 user=postgres pool_size={sessions}
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
pool_mode = transaction
max_client_conn = 100
server_reset_query_always = 1
server_reset_query = DISCARD ALL
server_login_retry = 0.2
"""


@contextmanager
def pooler(database: str, sessions: int = 2) -> Iterator[str]:
    """The URL of the database behind it."""
    assert PROGRAM is not None
    url = DatabaseURL.of(database)
    host = str(url.url.query["host"])
    folder = Path(tempfile.mkdtemp(prefix="dray-pgb-", dir="/tmp"))  # a socket's path must be short
    folder.chmod(0o777)
    (folder / "pgbouncer.ini").write_text(CONFIG.format(host=host, folder=folder, sessions=sessions))
    account = None
    if os.geteuid() == 0:  # it refuses to run as root, and only the server's user may reach the server's socket
        account = pwd.getpwuid(Path(host).stat().st_uid)
        os.chown(folder, account.pw_uid, account.pw_gid)
    process = subprocess.Popen(
        [PROGRAM, str(folder / "pgbouncer.ini")],
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
