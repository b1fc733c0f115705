"""A SQLite file: its lock, its writer and its readers.

Owns:   connections and their settings, transactions, and whether the file can be used at all.
Uses:   lock, revision, faults.
Never:  knows what is stored, or about the event loop: everything here blocks, and runs in the threads of ``sql``.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from streaming.errors import StoreUnavailable
from streaming.store.database import Inspection
from streaming.store.faults import faults, reason
from streaming.store.lock import FileLock
from streaming.store.revision import Tell, check_current, make_current, stored_revision
from streaming.store.statements import driver_of

#: Steps of SQLite's machine between two looks at the clock: some tenths of a millisecond.
_STEPS = 10_000

_JOURNAL = "PRAGMA journal_mode = WAL"
# Each connection keeps pages in kilobytes of its own, for good. Logs are read in order, and the kernel has their pages
# too: more makes nothing faster that we have measured, and is what memory did not come back from after a load.
_WRITER = ("PRAGMA foreign_keys = ON", "PRAGMA cache_size = -512")
_READER = ("PRAGMA query_only = ON", "PRAGMA cache_size = -128")


class SqliteFile:
    """One file, one writer, some readers.

    Args:
        path: the file; it is made if it does not exist.
        synchronous: ``normal`` or ``full``.
        busy_s: seconds to wait for a lock of another process.
        readers: connections that read at the same time, at most.
    """

    def __init__(self, path: Path, *, synchronous: str, busy_s: float, readers: int) -> None:
        # A link and its target are one file, and get one lock.
        self._path = path.resolve()
        self._file = (0, 0)  # device and inode
        self.readers = readers
        self._lock = FileLock(self._path.with_name(f"{self._path.name}.lock"))
        url = URL.create("sqlite", database=str(self._path))
        # BEGIN is ours: the driver's own mode leaves it out before SELECT and DDL, and cannot say IMMEDIATE.
        options = {"timeout": busy_s, "isolation_level": None}
        self._writer = create_engine(url, connect_args=options, pool_size=1, max_overflow=0)
        self._questions = create_engine(
            url,
            connect_args=options,
            isolation_level="AUTOCOMMIT",  # one SELECT is one snapshot
            pool_size=readers + 1,  # one more for what the writer asks
            max_overflow=0,
            pool_reset_on_return=None,
        )
        self._kept: Connection | None = None  # of the writer, between two transactions
        _on_connect(self._writer, *_WRITER, f"PRAGMA synchronous = {synchronous}")
        _on_connect(self._questions, *_READER)
        event.listen(self._writer, "begin", _begin)

    def open(self, upgrade: Tell | None = None) -> None:
        """See `Database.open`."""
        self._check_place()
        self._lock.take()
        with self._usable():
            self._check_log()
            self._make_private()
            self._make_ready(upgrade)

    def inspect(self) -> Inspection:
        """See `Database.inspect`."""
        if not self._path.exists():
            return Inspection(None, self._lock.holder())
        self._check_place()
        with self._usable(), self._questions.connect() as connection:
            return Inspection(stored_revision(connection), self._lock.holder())

    def close(self) -> None:
        """Close every connection and give back the lock; closing twice is allowed."""
        self._questions.dispose()
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self._writer.dispose()  # the last one: it folds the write-ahead log into the file
        self._lock.release()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StoreUnavailable(f"The database {self._path} cannot be used: {reason(error)}.") from error
        except StoreUnavailable as error:
            raise StoreUnavailable(f"The database {self._path} cannot be used: {error.detail}.") from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back by an exception.

        Raises:
            StoreUnavailable: it was not committed, or nobody knows.
        """
        self._check_file()
        with faults("written"), self._transaction() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """In a connection that is kept: to take one from the pool and to give it back takes as long as to commit."""
        connection, self._kept = self._kept or self._writer.connect(), None
        try:
            with connection.begin():
                yield connection
        except BaseException:
            connection.close()  # the pool takes back whatever has been left of a transaction
            raise
        self._kept = connection

    def one_trip(self) -> None:
        """See `Database.one_trip`: here it is no trip at all."""

    @contextmanager
    def settled(self) -> Iterator[Connection]:
        """See `Database.settled`: a transaction in a file has ended with the call that was in it."""
        with self.reading() as connection:
            yield connection

    @contextmanager
    def reading(self, within_s: float | None = None) -> Iterator[Connection]:
        """See `Database.reading`."""
        with faults("read", within_s), self._questions.connect() as connection:
            if within_s is None:
                yield connection
                return
            driver: Any = connection.connection.driver_connection
            deadline = time.monotonic() + within_s
            driver.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            try:
                yield connection
            finally:
                driver.set_progress_handler(None, 0)

    @contextmanager
    def beside(self) -> Iterator[Connection]:
        """See `Database.beside`: whoever has begun to write is waited for."""
        self._check_place()
        with self._usable():
            if not _size(self._path):
                raise StoreUnavailable("it is empty")
            with self._transaction() as connection:
                check_current(connection)
                yield connection

    def _check_place(self) -> None:
        directory = self._path.parent
        if self._path.is_dir():
            raise StoreUnavailable(f"{self._path} is a directory: name a file in STREAMING_STORE_URL.")
        if not directory.is_dir():
            raise StoreUnavailable(
                f"There is no directory {directory}: create it, or choose another STREAMING_STORE_URL."
            )
        if self._path.exists() and not os.access(self._path, os.R_OK | os.W_OK):
            raise StoreUnavailable(f"The database {self._path} is read-only: this user must be able to write it.")

    def _check_log(self) -> None:
        """Refuse a new file beside an old write-ahead log: SQLite would delete that, and what it holds."""
        log = self._path.with_name(f"{self._path.name}-wal")
        if _size(log) and not _size(self._path):
            raise StoreUnavailable(
                f"its write-ahead log {log} is there without it, and holds what was committed last; put the database "
                f"back beside it, or move the log away to start with an empty database"
            )

    def _make_private(self) -> None:
        """Make a new file that nobody else can read: it is going to have secrets. One that is there stays as it is."""
        if not self._path.exists():
            with suppress(OSError):  # SQLite says what is wrong
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def _check_file(self) -> None:
        """Refuse to write where nobody is going to look: SQLite goes on with a file that has lost its name."""
        try:
            there = self._path.stat()
        except OSError as error:
            raise StoreUnavailable("The store cannot be written: its file is gone.") from error
        if (there.st_dev, there.st_ino) != self._file:
            raise StoreUnavailable("The store cannot be written: its file was replaced by another one.")

    def _make_ready(self, upgrade: Tell | None) -> None:
        with self._questions.connect() as connection:
            stored_revision(connection)  # nothing of a file of another program is changed
        raw = self._writer.raw_connection()
        try:
            _keep_write_ahead_log(raw.driver_connection)
        finally:
            raw.close()
        with self._writer.begin() as connection:  # takes the write lock, and so finds out what cannot be written
            make_current(connection, upgrade)
        there = self._path.stat()
        self._file = there.st_dev, there.st_ino
        self._connect_readers()

    def _connect_readers(self) -> None:
        """Make every connection now, while the name means this file.

        Later it may mean another one, or none: to connect would make an empty file, and SQLite deletes the write-ahead
        log that it finds beside an empty file, with all that was committed to it.
        """
        with ExitStack() as connections:
            for _ in range(self.readers + 1):
                connection = connections.enter_context(self._questions.connect())
                connection.exec_driver_sql("PRAGMA schema_version")  # reads, and so opens the log too


def _size(file: Path) -> int:
    """In bytes; a file that is not there has none."""
    return file.stat().st_size if file.exists() else 0


def _on_connect(engine: Engine, *pragmas: str) -> None:
    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.text_factory = _text
        for pragma in pragmas:
            connection.execute(pragma)

    event.listen(engine, "connect", connected)


def _text(found: bytes) -> str | bytes:
    """A text; what is no UTF-8 stays as it is, for its own row to complain about and no other."""
    try:
        return found.decode()
    except UnicodeDecodeError:
        return found


def _begin(connection: Connection) -> None:
    driver_of(connection).execute("BEGIN IMMEDIATE")


def _keep_write_ahead_log(connection: Any) -> None:
    (mode,) = connection.execute(_JOURNAL).fetchone()
    if mode != "wal":
        raise StoreUnavailable("its file system does not support a write-ahead log; choose a local disk")
