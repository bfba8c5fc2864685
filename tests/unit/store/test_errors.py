"""Errors of the database are told apart by SQLSTATE, survive pickling, and say what to do."""

from __future__ import annotations

import inspect
import pickle

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dray.store import errors
from dray.store.connection import as_store_error, store_errors, waits
from dray.store.errors import (
    AccessRefused,
    DatabaseURLInvalid,
    DataRefused,
    EmbeddedBusy,
    EmbeddedError,
    EmbeddedFailed,
    EmbeddedMissing,
    ExecutionNotFound,
    ExecutionUnfit,
    LeaseLost,
    NotWaiting,
    ScheduleNotFound,
    SchemaMissing,
    SchemaNewer,
    StoreError,
    TookTooLong,
    Unavailable,
    WaitTimeout,
    WorkflowNotFound,
    from_sqlstate,
)

EXAMPLES: dict[type[StoreError], StoreError] = {
    StoreError: StoreError("no", "P0002"),
    DatabaseURLInvalid: DatabaseURLInvalid("bad"),
    Unavailable: Unavailable("gone", "57P01", lost=False),
    TookTooLong: TookTooLong("canceling statement due to statement timeout", "57014", lost=False),
    AccessRefused: AccessRefused("wrong password"),
    SchemaMissing: SchemaMissing("no table", "42P01"),
    SchemaNewer: SchemaNewer("0099"),
    LeaseLost: LeaseLost("ran out"),
    ExecutionUnfit: ExecutionUnfit("it is running", "55000"),
    ScheduleNotFound: ScheduleNotFound("nightly"),
    WorkflowNotFound: WorkflowNotFound("w", 3),
    ExecutionNotFound: ExecutionNotFound("0197"),
    NotWaiting: NotWaiting("0197", "ask"),
    WaitTimeout: WaitTimeout("0197", "queued", 1.5),
    DataRefused: DataRefused("twice", "23505", "workflow_name_version_key"),
    EmbeddedError: EmbeddedError("no"),
    EmbeddedMissing: EmbeddedMissing(),
    EmbeddedBusy: EmbeddedBusy("/data", 12),
    EmbeddedFailed: EmbeddedFailed("/data", "FATAL: no"),
}


def test_every_error_has_an_example() -> None:
    found = {each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, BaseException)}
    assert found == set(EXAMPLES)


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling(error: StoreError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("sqlstate", "kind", "lost"),
    [
        ("08006", Unavailable, True),
        ("57P01", Unavailable, True),
        ("57P03", Unavailable, True),
        ("25P03", Unavailable, True),
        ("53300", Unavailable, False),
        ("53100", Unavailable, False),
        ("40001", Unavailable, False),
        ("40P01", Unavailable, False),
        ("55P03", Unavailable, False),
        ("57014", TookTooLong, False),
        ("58030", Unavailable, False),
        ("25006", Unavailable, False),
        ("28P01", AccessRefused, None),
        ("3D000", AccessRefused, None),
        ("42501", AccessRefused, None),
        ("3F000", SchemaMissing, None),
        ("42P01", SchemaMissing, None),
        ("42883", SchemaMissing, None),
        ("22P05", DataRefused, None),
        ("22P02", DataRefused, None),
        ("23505", DataRefused, None),
        ("54001", DataRefused, None),
        ("42601", StoreError, None),
        ("P0002", StoreError, None),
        ("XX000", StoreError, None),
    ],
)
def test_a_sqlstate_decides_the_kind(sqlstate: str, kind: type[StoreError], lost: bool | None) -> None:
    found = from_sqlstate(sqlstate, "because")
    assert type(found) is kind
    assert found.sqlstate == sqlstate
    assert getattr(found, "lost", None) is lost
    assert isinstance(from_sqlstate(sqlstate, "because", lost=True), Unavailable)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('connection to server at "h" failed: FATAL:  password authentication failed for user "u"', AccessRefused),
        ('connection to server at "h" failed: FATAL:  database "x" does not exist', AccessRefused),
        ("FATAL:  Tenant or user not found", AccessRefused),
        ("fe_sendauth: no password supplied", AccessRefused),
        ('connection to server at "h" (1.2.3.4), port 5432 failed: Connection refused', Unavailable),
        ("FATAL:  the database system is starting up", Unavailable),
        ("FATAL:  sorry, too many clients already", Unavailable),
        ("something in another language", Unavailable),
    ],
)
def test_while_connecting_only_the_text_tells(text: str, kind: type[StoreError]) -> None:
    found = as_store_error(psycopg2.OperationalError(text))
    assert type(found) is kind


def test_a_reason_is_one_short_line() -> None:
    refused = (
        'connection to server at "localhost" (::1), port 1 failed: Connection refused\n'
        "\tIs the server running on that host and accepting TCP/IP connections?\n"
        'connection to server at "localhost" (127.0.0.1), port 1 failed: Connection refused\n'
        "\tIs the server running on that host and accepting TCP/IP connections?\n"
    )
    found = as_store_error(psycopg2.OperationalError(refused))
    assert str(found) == (
        'database unavailable: connection to server at "localhost" (::1), port 1 failed: Connection refused; '
        'connection to server at "localhost" (127.0.0.1), port 1 failed: Connection refused'
    )
    assert len(str(as_store_error(psycopg2.OperationalError("x" * 100_000)))) < 400


def test_parameters_of_a_statement_are_not_in_the_error() -> None:
    inner = psycopg2.OperationalError("server closed the connection unexpectedly")
    found = as_store_error(OperationalError("INSERT", {"secret": "Zq"}, inner, connection_invalidated=True))
    assert isinstance(found, Unavailable)
    assert found.lost
    assert "Zq" not in str(found)


def test_what_psycopg2_refuses_to_send_is_the_values_fault() -> None:
    nul = ValueError("A string literal cannot contain NUL (0x00) characters.")
    assert isinstance(as_store_error(nul), DataRefused)
    with pytest.raises(DataRefused), store_errors():
        "\ud800".encode()


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), store_errors():
        raise KeyError("mine")
    assert as_store_error(ValueError("mine")) is None
    assert type(as_store_error(psycopg2.ProgrammingError("can't adapt type 'object'"))) is StoreError
    assert isinstance(as_store_error(PoolTimeout("QueuePool limit")), Unavailable)


def test_waits_grow_to_the_longest_and_never_fall_under_the_first() -> None:
    each = waits()
    drawn = [next(each) for _ in range(200)]
    assert drawn[0] == 0.2
    assert all(0.2 <= value <= 10.0 for value in drawn)
    assert all(value <= 0.2 * 2**index for index, value in enumerate(drawn[:6]))
    assert max(drawn) > 5.0
    assert len(set(drawn)) > 150
