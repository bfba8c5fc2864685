"""`dray dev`: an embedded Postgres, a driver and its runners on one data folder, for as long as the command runs.

    <data folder>/dev.json    the database of the running `dray dev`, for commands in other terminals

The file is believed only while something answers on the socket that it names: a killed `dray dev` leaves it behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dray.cluster.settings import Settings
from dray.store.embedded import SOCKET_NAME, EmbeddedPostgres
from dray.store.errors import StoreError
from dray.store.url import DatabaseURL

FILE = "dev.json"
# SIGHUP: the terminal was closed.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """A Postgres on the folder with our tables in it, known to other commands. Raises EmbeddedError, StoreError."""
    from dray.store.connection import connect, wait_until_up
    from dray.store.migrate import migrate

    with EmbeddedPostgres(folder) as url:
        engine = connect(url, pool_size=1)
        try:
            wait_until_up(engine)
            migrate(engine)
        finally:
            engine.dispose()
        note = folder / FILE
        note.write_text(json.dumps({"database_url": url, "pid": os.getpid()}))
        try:
            yield url
        finally:
            note.unlink(missing_ok=True)


def running_on(folder: Path) -> DatabaseURL | None:
    """The database of the `dray dev` that runs on the folder; None if none does."""
    try:
        url = DatabaseURL.of(json.loads((folder / FILE).read_text())["database_url"])
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(2)
            probe.connect(str(Path(url.host or "") / SOCKET_NAME))
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return None
    return url


def run(settings: Settings, serve: Callable[[Settings], None]) -> None:
    """serve(settings with the database) while Postgres runs; serve returns when it is told to stop."""
    with database(settings.data_dir) as url:
        serve(settings.model_copy(update={"database_url": DatabaseURL.of(url), "direct_url": None}))


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and SIGHUP set. A second Ctrl-C does not wait for the drain: KeyboardInterrupt."""
    stop = threading.Event()

    def ask(number: int, _: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    previous = {each: signal.signal(each, ask) for each in ENDING}
    try:
        yield stop
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
