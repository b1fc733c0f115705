"""Every error of a database becomes one that clients may see."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streaming.errors import StoreUnavailable
from streaming.store.faults import faults

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
        (no_table, "an unexpected error"),
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


def test_what_is_no_database_error_passes() -> None:
    with pytest.raises(ZeroDivisionError), faults("read"):
        raise ZeroDivisionError
