"""Engines, transactions, and psycopg2's errors as ours.

How a connection is used, so that it works behind a pooler that gives each transaction another session:

- **Autocommit.** A statement alone is a transaction alone, and one round trip. `connection(engine)` gives one for that.
- **`transaction(engine)`** for several statements: BEGIN and its two SET LOCAL go to the server together, so it costs
  two round trips more than its statements. A driver that is stopped half-way is thrown out by the server after `hold`
  seconds, so that it cannot keep the reaper waiting.
- **READ COMMITTED**, whatever the default of the role or the database is: where it is another, each statement says so
  in the same round trip (`read_committed`). What counts or looks again after it has waited for a lock must see what
  was committed meanwhile.
- **No session state**: no SET that lasts, no session advisory locks, no server-side prepared statements (psycopg2
  makes none), no `options=-c ...` at start-up, which poolers refuse or forget.

Every database error leaves here as a StoreError (store/errors.py); the hook is on the engine, so plain SQLAlchemy use
is covered too. Only code that works on somebody else's connection, or on a bare cursor, needs `store_errors()`.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import (
    PYDATETIMETZ,
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_INTRANS,
    new_type,
    register_type,
)
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dray.store.errors import DataRefused, StoreError, Unavailable, from_sqlstate
from dray.store.url import DatabaseURL

FIRST_WAIT = 0.2
LONGEST_WAIT = 10.0
REASON_LENGTH = 300

# A peer that vanished is noticed after 30 + 3 * 10 s when we wait for it (keepalives), and after 30 s when it does not
# acknowledge what we sent (tcp_user_timeout; without it the kernel tries for a quarter of an hour). Client side only.
_LIBPQ = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 5,
    "tcp_user_timeout": 30_000,
    "client_encoding": "utf8",
}

# As the first of two statements in one message, it holds for the transaction that both of them are.
_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
_STRICTER = "dray_stricter"  # in Connection.info: the default isolation of this connection is another
_SERIALIZATION_FAILURE = "40001"

_TIMESTAMPTZ = 1184  # its oid
_MISUSE = (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError)


def connect(
    url: str | URL | DatabaseURL, *, pool_size: int = 5, application_name: str = "dray", pre_ping: bool = False
) -> Engine:
    """An engine for the database at `url`. Opens no connection yet.

    pool_size: most connections at once; one more waits up to 30 s, then Unavailable. application_name: seen in
    pg_stat_activity. pre_ping: ask before each use whether the connection still lives. Off for drivers: it is a round
    trip on every statement, a dead connection replaces the whole pool at its first error, and a driver tries again
    anyway. On for clients that sit idle for hours and do not try again. Errors: DatabaseURLInvalid.
    """
    target = DatabaseURL.of(url)
    given = {name: value for name, value in _LIBPQ.items() if name not in target.url.query}
    engine = create_engine(
        target.url,
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        pool_recycle=1800,
        pool_use_lifo=True,  # a quiet driver keeps one connection warm, not all of them
        pool_pre_ping=pre_ping,
        hide_parameters=True,
        json_deserializer=_json,
        use_native_hstore=False,  # else one query more on every new connection
        connect_args={**given, "application_name": application_name},
    )
    event.listen(engine, "handle_error", _on_error)
    event.listen(engine, "connect", _learn_isolation)
    event.listen(engine, "connect", lambda found, _: register_type(_TIME, found))
    return engine


def _learn_isolation(connection: Any, record: Any) -> None:
    """Of a new connection: behind a pooler, of the session that it has just now. One round trip in its life."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW default_transaction_isolation")
        record.info[_STRICTER] = cursor.fetchone()[0] != "read committed"
    connection.rollback()


def read_committed(found: Connection, statement: str) -> str:
    """The statement, for a transaction of its own that is READ COMMITTED."""
    return _READ_COMMITTED + statement if found.info.get(_STRICTER) else statement


def mark_stricter(found: Connection, error: psycopg2.Error) -> None:
    """In READ COMMITTED nothing fails to serialize: another session behind the pooler, with another default."""
    if error.pgcode == _SERIALIZATION_FAILURE:
        found.info[_STRICTER] = True


# One row that Python cannot hold must not break the list that it stands in: such a value comes as Postgres writes it.


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, thousands of lists in each other
        return text


def _time(text: str | bytes | None, cursor: Any) -> Any:
    try:
        return PYDATETIMETZ(text, cursor)
    except (ValueError, OverflowError, psycopg2.Error):  # BC, or beyond the year 9999
        return text


_TIME = new_type((_TIMESTAMPTZ,), "TIME", _time)


@contextmanager
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection on which every statement commits by itself. Errors: StoreError."""
    with store_errors(), engine.connect() as found:
        yield found


@contextmanager
def transaction(engine: Engine, *, hold: float = 10.0, lock_wait: float = 5.0) -> Iterator[Connection]:
    """One transaction, READ COMMITTED: commits at the end of the block, rolls back if it raises.

    hold: seconds that it may sit idle before the server ends it. lock_wait: seconds that a statement may wait for a
    lock. Both belong below the lease's ttl; past them: Unavailable. A block that swallowed a statement's error gets
    StoreError instead of a COMMIT that the server would quietly turn into a ROLLBACK.
    """
    begin = (
        "BEGIN ISOLATION LEVEL READ COMMITTED; "
        f"SET LOCAL idle_in_transaction_session_timeout = {int(hold * 1000)}; "
        f"SET LOCAL lock_timeout = {int(lock_wait * 1000)}"
    )
    with connection(engine) as found:
        try:
            found.exec_driver_sql(begin)
            yield found
            _check_open(found)
            found.exec_driver_sql("COMMIT")
        except BaseException:
            _roll_back(found)
            raise


def _status(found: Connection) -> int:
    """libpq's own knowledge of the transaction; asks no server."""
    driver = found.connection.driver_connection
    return TRANSACTION_STATUS_IDLE if driver is None else int(driver.info.transaction_status)


def _check_open(found: Connection) -> None:
    """A COMMIT after a failed statement answers ROLLBACK and raises nothing, so look before."""
    if found.invalidated or _status(found) != TRANSACTION_STATUS_INTRANS:
        raise StoreError("a statement of this transaction failed or ended it, and its block went on: nothing is stored")


def _roll_back(found: Connection) -> None:
    """Whatever happens, no connection goes back to the pool inside a transaction: the pool's own reset does nothing in
    autocommit mode."""
    if found.invalidated or found.closed or _status(found) == TRANSACTION_STATUS_IDLE:
        return
    try:
        found.exec_driver_sql("ROLLBACK")
    except StoreError:
        if not found.invalidated:
            found.invalidate()
    except BaseException:
        found.invalidate()
        raise


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns what psycopg2 and SQLAlchemy raise inside the block into StoreError."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        found = as_store_error(error)
        if found is None:
            raise
        raise found from error


def as_store_error(error: BaseException) -> StoreError | None:
    """The StoreError for an exception of psycopg2 or SQLAlchemy; None if it is not about the database."""
    if isinstance(error, DBAPIError):
        lost = error.connection_invalidated
        return None if error.orig is None else _translate(error.orig, lost)
    return _translate(error, lost=False)


def _translate(error: BaseException, lost: bool) -> StoreError | None:
    if isinstance(error, StoreError):
        return error
    if isinstance(error, PoolTimeout):
        return Unavailable("all connections of this process are in use, for 30 s", lost=False)
    if isinstance(error, UnicodeEncodeError) or (isinstance(error, ValueError) and "NUL" in str(error)):
        # psycopg2 finds these before it sends anything: half a surrogate pair, a NUL.
        return DataRefused("text with a character that PostgreSQL cannot store (NUL, half a surrogate pair)", "22021")
    if not isinstance(error, psycopg2.Error):
        return None
    if error.pgcode is None and not lost and isinstance(error, _MISUSE):
        return StoreError(_one_line(str(error)))  # psycopg2's own complaint about how it was called
    diagnosis = error.diag
    reason = _one_line(diagnosis.message_primary or str(error))
    if diagnosis.message_hint:
        reason = f"{reason} ({_one_line(diagnosis.message_hint)})"
    return from_sqlstate(error.pgcode, reason, lost=lost, constraint=diagnosis.constraint_name)


def _one_line(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    joined = "; ".join(line for line in lines if line and not line.startswith("Is the server running"))
    return joined if len(joined) <= REASON_LENGTH else joined[: REASON_LENGTH - 3] + "..."


def _on_error(context: ExceptionContext) -> StoreError | None:
    found = _translate(context.original_exception, lost=context.is_disconnect)
    if isinstance(found, Unavailable) and found.lost and found.sqlstate is not None:
        context.is_disconnect = True  # by SQLSTATE: SQLAlchemy goes by the text, which may be in another language
    if context.is_pre_ping and context.is_disconnect:
        return None  # not raised: the pool answers it with a fresh connection
    return found


def waits(first: float = FIRST_WAIT, longest: float = LONGEST_WAIT) -> Iterator[float]:
    """Seconds to wait before each next try: twice as long each time up to `longest`, of which a random part, never
    under `first`. Random, so that a hundred drivers do not come back to a restarted database in step."""
    ceiling = first
    while True:
        yield random.uniform(first, ceiling)  # noqa: S311
        ceiling = min(longest, ceiling * 2)


def wait_until_up(
    engine: Engine,
    on_wait: Callable[[str], object] | None = None,
    *,
    stop: threading.Event | None = None,
    pauses: Iterator[float] | None = None,
) -> bool:
    """Returns True once the database answers and takes writes; False if `stop` was set meanwhile.

    on_wait: called before each wait with one line: where, why, and for how long. pauses: seconds, default `waits()`;
    when they run out, the last Unavailable is raised. Errors: AccessRefused at once, since waiting does not mend it.
    """
    stop = stop or threading.Event()
    where = DatabaseURL.of(engine.url).safe
    for pause in pauses or waits():
        try:
            _ask(engine)
        except Unavailable as error:
            failure = error
        else:
            return True
        if on_wait is not None:
            on_wait(f"{where}: {failure.reason}; trying again in {pause:.1f} s")
        if stop.wait(pause):
            return False
    raise failure


def _ask(engine: Engine) -> None:
    with connection(engine) as found:
        if found.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
            found.invalidate()  # its name may lead to the new primary by now: connect anew next time
            raise Unavailable("this server is a read-only standby", lost=False)
