"""Every error of a database becomes one that clients may see."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streaming.errors import QueryTooSlow, StoreUnavailable, StoreUnreachable
from streaming.store.faults import faults, may_be_repeated

Connect = Callable[..., sqlite3.Connection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects, and closes in the end what a failure has left open."""
    with ExitStack() as stack:

        def connected(path: Path, timeout: float = 5.0) -> sqlite3.Connection:
            return stack.enter_context(closing(sqlite3.connect(path, timeout=timeout)))

        yield connected


def full(connect: Connect, path: Path) -> None:
    database = connect(path)
    database.execute("PRAGMA max_page_count = 2")
    database.execute("CREATE TABLE secret (x)")
    database.execute("INSERT INTO secret VALUES (randomblob(100000))")


def read_only(connect: Connect, path: Path) -> None:
    database = connect(path)
    database.execute("PRAGMA query_only = ON")
    database.execute("CREATE TABLE secret (x)")


def busy(connect: Connect, path: Path) -> None:
    connect(path).execute("BEGIN EXCLUSIVE")
    connect(path, timeout=0).execute("CREATE TABLE secret (x)")


def no_file(connect: Connect, path: Path) -> None:
    connect(path.parent)  # a directory


def no_database(connect: Connect, path: Path) -> None:
    path.write_text("secret " * 1000)
    connect(path).execute("SELECT * FROM sqlite_master")


def damaged(connect: Connect, path: Path) -> None:
    database = connect(path)
    database.execute("CREATE TABLE secret (x)")
    database.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x77" * (len(content) - 4096)
    path.write_bytes(content)
    connect(path).execute("SELECT * FROM secret").fetchall()


def contradiction(connect: Connect, path: Path) -> None:
    database = connect(path)
    database.execute("CREATE TABLE secret (x UNIQUE)")
    database.executemany("INSERT INTO secret VALUES (?)", [(1,), (1,)])


def no_table(connect: Connect, path: Path) -> None:
    connect(path).execute("SELECT * FROM secret")


def misuse(connect: Connect, path: Path) -> None:
    connect(path).execute("SELECT ?", ("secret", "secret"))


def through_sqlalchemy(connect: Connect, path: Path) -> None:
    database = connect(path)
    database.execute("CREATE TABLE secret (x UNIQUE)")
    database.close()
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO secret VALUES (?)", [(1,), (1,)])


def no_connection(_connect: Connect, _path: Path) -> None:
    raise PoolTimeout("secret")


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (full, "its disk is full"),
        (read_only, "it is read-only"),
        (busy, "another process has locked it"),
        (no_file, "its file cannot be opened"),
        (no_database, "its file is no SQLite database"),
        (damaged, "its file is damaged"),
        (contradiction, "what it was given contradicts what it holds"),
        (through_sqlalchemy, "what it was given contradicts what it holds"),
        (no_table, "its tables are not those of this version"),
        (misuse, "an unexpected error"),
        (no_connection, "all its connections are busy"),
    ],
)
def test_the_reason_is_named_and_internals_stay_in_the_chain(
    break_it: Callable[[Connect, Path], None], why: str, connect: Connect, tmp_path: Path
) -> None:
    with pytest.raises(StoreUnavailable) as caught, faults("written"):
        break_it(connect, tmp_path / "secret.db")

    expected = f"The store cannot be written: {why}."
    assert caught.value.detail == expected
    assert isinstance(caught.value.__cause__, sqlite3.Error | SQLAlchemyError)


def of_postgres(error: psycopg.Error, lost: bool = False) -> StoreUnavailable:
    """What becomes of an error of psycopg, as SQLAlchemy passes it on."""
    with pytest.raises(StoreUnavailable) as caught, faults("read"):
        raise DBAPIError("SELECT secret", None, error, connection_invalidated=lost)
    assert "secret" not in caught.value.detail
    return caught.value


@pytest.mark.parametrize(
    ("error", "why", "away"),
    [
        (psycopg.errors.UniqueViolation("secret"), "what it was given contradicts what it holds", False),
        (psycopg.errors.DiskFull("secret"), "its disk is full", False),
        (psycopg.errors.QueryCanceled("secret"), "it takes too long", False),
        (psycopg.errors.LockNotAvailable("secret"), "a lock was not free in time", False),
        (psycopg.errors.ReadOnlySqlTransaction("secret"), "it is read-only", False),
        (psycopg.errors.InsufficientPrivilege("secret"), "its user has too few rights", False),
        (psycopg.errors.UndefinedTable("secret"), "its tables are not those of this version", False),
        (psycopg.errors.InvalidPassword("secret"), "it refuses this user or password", False),
        (psycopg.errors.InternalError_("secret"), "it is damaged", False),
        (psycopg.errors.TriggeredActionException("secret"), "an unexpected error", False),
        (psycopg.errors.TooManyConnections("secret"), "it has no connection left", True),
        (psycopg.errors.AdminShutdown("secret"), "it is being shut down", True),
        (psycopg.errors.CannotConnectNow("secret"), "it is starting or being shut down", True),
        (psycopg.errors.IdleInTransactionSessionTimeout("secret"), "the transaction was idle for too long", True),
        (psycopg.errors.ConnectionFailure("secret"), "nobody answers there, or the connection was lost", True),
        (psycopg.DataError("secret"), "a value does not fit into it", False),
        (psycopg.ProgrammingError("secret"), "an unexpected error", False),
        (psycopg.ProgrammingError('invalid connection option "secret"'), "STREAMING_STORE_URL has an option", False),
        (psycopg.ProgrammingError("bad value for connect_timeout: 'secret'"), "has an option", False),
        (psycopg.OperationalError('invalid sslmode value: "secret"'), "has an option", False),
        (psycopg.OperationalError('invalid port number: "secret"'), "has an option", False),
        (psycopg.OperationalError('FATAL: unrecognized configuration parameter "secret"'), "has an option", False),
        (psycopg.OperationalError("server does not support SSL, but SSL was required"), "the encryption", False),
        (psycopg.OperationalError("SSL error: certificate verify failed"), "the encryption", False),
        (psycopg.OperationalError('root certificate file "/secret" does not exist'), "the encryption", False),
        (psycopg.OperationalError("SSL error: unexpected eof while reading"), "nobody answers there", True),
        (psycopg.OperationalError("failed to resolve host 'secret': [Errno -2]"), "no address is known", True),
        (psycopg.OperationalError('could not translate host name "secret" to address'), "no address", True),
        (psycopg.OperationalError("secret"), "nobody answers there, or the connection was lost", True),
        (
            psycopg.OperationalError('FATAL: password authentication failed for user "secret"'),
            "refuses this user",
            False,
        ),
        (psycopg.OperationalError('FATAL: no pg_hba.conf entry for host "secret"'), "refuses this user", False),
        (psycopg.OperationalError('FATAL: database "secret" does not exist'), "there is no such database", False),
        (psycopg.OperationalError("FATAL: sorry, too many clients already"), "it has no connection left", True),
        (psycopg.OperationalError("FATAL: the database system is starting up"), "it is starting", True),
    ],
    ids=repr,
)
def test_errors_of_postgres_are_named_and_told_apart(error: psycopg.Error, why: str, away: bool) -> None:
    told = of_postgres(error)

    assert why in told.detail
    assert isinstance(told, StoreUnreachable) is away
    assert not may_be_repeated(told)
    assert isinstance(of_postgres(error, lost=True), StoreUnreachable), "whatever it said last"


@pytest.mark.parametrize("error", [psycopg.errors.DeadlockDetected(), psycopg.errors.SerializationFailure()])
def test_a_transaction_that_met_another_one_may_be_repeated(error: psycopg.Error) -> None:
    told = of_postgres(error)

    assert may_be_repeated(told)
    assert str(error.sqlstate) in told.detail


def test_only_a_question_with_a_limit_is_too_slow() -> None:
    slow = DBAPIError("", None, psycopg.errors.QueryCanceled("secret"))
    with pytest.raises(QueryTooSlow, match=r"longer than 0\.5 s"), faults("read", 0.5):
        raise slow
    with pytest.raises(StoreUnavailable, match="damaged"), faults("read", 0.5):
        raise DBAPIError("", None, psycopg.errors.DataCorrupted())


def test_what_is_no_database_error_passes() -> None:
    with pytest.raises(ZeroDivisionError), faults("read"):
        raise ZeroDivisionError
