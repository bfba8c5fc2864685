"""What every part of the client stands on: its database, one statement, and values on their way in."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine

from dray.plain import DEEPEST, Encoder, NotPlain, too_deep
from dray.store.connection import connect, connection, read_committed, store_errors
from dray.store.errors import DatabaseURLInvalid, DataRefused, ExecutionNotFound
from dray.store.queries import QUERIES
from dray.store.url import DatabaseURL

Rows: TypeAlias = list[Any]
_ENCODER = Encoder()
Self = TypeVar("Self", bound="ClientBase")


class ClientBase:
    """database: a URL in any form, an Engine of store.connection.connect(), or a Connection of the caller's own.

    None: DRAY_DATABASE_URL, else DATABASE_URL. Raises DatabaseURLInvalid.
    """

    def __init__(self, database: str | DatabaseURL | Engine | Connection | None = None) -> None:
        if database is None:
            database = os.environ.get("DRAY_DATABASE_URL") or os.environ.get("DATABASE_URL")
            if database is None:
                raise DatabaseURLInvalid("no database: pass its URL to Client(), or set DRAY_DATABASE_URL")
        self._owned: Engine | None = None
        if isinstance(database, (str, DatabaseURL)):
            database = self._owned = connect(database, pool_size=5, application_name="dray client", pre_ping=True)
        self._database: Engine | Connection = database

    def close(self) -> None:
        """Close the connections that this client made; an engine or a connection that it was given is left alone."""
        if self._owned is not None:
            self._owned.dispose()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, name: str, given: Mapping[str, Any]) -> Rows:
        with self._connection() as found:
            statement = QUERIES[name]
            if found is not self._database:  # else it is in a transaction of the caller's own
                statement = read_committed(found, statement)
            return [tuple(row) for row in found.exec_driver_sql(statement, dict(given)).all()]

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        if isinstance(self._database, Connection):
            with store_errors():
                yield self._database
        else:
            with connection(self._database) as found:
                yield found


def uuid_text(execution: str) -> str:
    try:
        return str(uuid.UUID(execution))
    except (ValueError, AttributeError, TypeError):
        raise ExecutionNotFound(str(execution)) from None


def json_text(value: Any, what: str) -> str:
    """The value as JSON text, in the way in which a handler's output becomes it. Raises DataRefused, with the place."""
    try:
        text = _ENCODER.text(value, what, what)
    except NotPlain as error:
        raise DataRefused(too_deep(value, what) or str(error)) from None
    if text.count("[") + text.count("{") > DEEPEST and (said := too_deep(value, what)):
        raise DataRefused(said)
    return text
