"""What all commands share: exit codes, errors in one line, the database, output for people and for scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

from dray.cluster import logs
from dray.cluster.errors import ClusterError, PortTaken, RayUnavailable, RunnersMissing
from dray.cluster.spans import span_of
from dray.plain import visible

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from dray.cluster.settings import Settings
    from dray.store.client.client import Client


class Exit(IntEnum):
    """What the command `dray` answers to the shell. docs/cli.md lists the same."""

    DONE = 0
    FAILED = 1  # the execution failed or was cancelled, or is not in a state for that
    USAGE = 2  # options, input, settings, a workflow that is refused, handlers that cannot be loaded
    DATABASE = 3  # it does not answer, refuses us, or its schema does not fit
    NOT_FOUND = 4  # no such workflow, execution or schedule
    TIMEOUT = 5  # --wait --timeout: not finished yet; it goes on
    NO_START = 6  # no Ray, no embedded Postgres, or somebody else runs it
    INTERRUPTED = 130  # Ctrl-C


class Stop(Exception):
    """Ends the command with one line on stderr."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message


def code_of(error: BaseException) -> Exit | None:
    """The exit code of an error that a user can do something about; None: a bug of ours."""
    from dray.actors.errors import ActorsError
    from dray.store import errors as store

    if isinstance(error, Stop):
        return error.code
    codes: dict[tuple[type[Exception], ...], Exit] = {
        (store.ExecutionNotFound, store.ScheduleNotFound, store.WorkflowNotFound): Exit.NOT_FOUND,
        (store.ExecutionUnfit,): Exit.FAILED,
        (store.WaitTimeout,): Exit.TIMEOUT,
        (store.NotWaiting,): Exit.FAILED,
        (store.DatabaseURLInvalid, store.DataRefused): Exit.USAGE,
        (store.EmbeddedError, RayUnavailable, PortTaken, RunnersMissing): Exit.NO_START,
        (store.StoreError,): Exit.DATABASE,
        (ClusterError, ActorsError): Exit.USAGE,
    }
    return next((code for kinds, code in codes.items() if isinstance(error, kinds)), None)


def complain(error: object) -> None:
    print(f"dray: {visible(logs.redact(str(error)), lines=True)}", file=sys.stderr)  # noqa: T201


def settings_for(**given: Any) -> Settings:
    """The settings, and the logs set up as they say."""
    from dray.cluster.settings import load

    settings = load(**given)
    logs.setup(settings.log_level, settings.log_format)
    return settings


def with_database(settings: Settings) -> Settings:
    """The settings with a database: the configured one, else that of a `dray dev` that runs on the data folder."""
    from dray.cluster.dev import running_on

    if settings.database_url is not None:
        return settings
    found = running_on(settings.data_dir)
    if found is None:
        raise Stop(f"no database: set DRAY_DATABASE_URL, or start `dray dev` (nothing runs on {settings.data_dir})")
    return settings.model_copy(update={"database_url": found})


@contextmanager
def open_engine() -> Iterator[Engine]:
    database = with_database(settings_for()).database_url
    from dray.store.connection import connect

    assert database is not None
    engine = connect(database, pool_size=1, application_name="dray-cli")
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def open_client() -> Iterator[Client]:
    from dray.store.client.client import Client

    with open_engine() as engine, Client(engine) as client:
        yield client


def json_value(text: str, what: str) -> Any:
    """The value of an option that takes JSON: the text, `@file`, or `-` for standard input."""
    from dray.cluster.graph.files import parse_json, read

    try:
        if text == "-" or text.startswith("@"):
            return read(text.removeprefix("@"))
        return parse_json(text, what)
    except ValueError as error:
        raise Stop(str(error)) from None


def span_given(text: str, option: str) -> timedelta:
    """The span of time that an option says."""
    try:
        return span_of(text)
    except ValueError as error:
        raise Stop(f"{option} {text!r}: {error}") from None


def labels_of(pairs: Sequence[str]) -> dict[str, str] | None:
    found = dict(each.partition("=")[::2] for each in pairs)
    if wrong := [each for each in pairs if not each.partition("=")[1] or each.startswith("=")]:
        raise Stop(f"--label {wrong[0]!r}: write name=value")
    return found or None


def put(text: str = "") -> None:
    """A line on stdout, or several."""
    print(visible(text, lines=True))  # noqa: T201


def put_json(value: Any) -> None:
    put(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False, default=str))


def put_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table whose last column may be folded to fit the terminal; into a pipe, one line a row with tabs between."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            put("\t".join(shown(each) for each in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column != columns[-1])
    for row in rows:
        table.add_row(*(Text(shown(each), style=STYLES.get(shown(each), "")) for each in row))
    Console().print(table)


STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "waiting": "blue"}


def shown(value: Any) -> str:
    """A value in one cell, on one line."""
    if value is None or value in ("", ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "isoformat"):
        try:
            return str(value.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
        except (OverflowError, ValueError):  # at the ends of what a date can hold, in a zone
            return str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    if isinstance(value, (Mapping, list)):
        value = json.dumps(value, ensure_ascii=False)
    return visible(" ".join(str(value).split()))


def leave(code: int) -> NoReturn:
    """The end of the process, at once, with what is buffered written; contexts have closed all that was opened.

    Python's own end would complain of a broken pipe, and wait for threads that handlers of the local executor left. A
    driver on Ray was seen once to abort in it, after it had given back everything.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass
    os._exit(code)
