"""A PostgreSQL database: its lock, its writer and its readers.

Rules of this file:

- No server writes without the lock: the connection that writes has taken it when it was made, and loses it with its
  end. So two servers never write, and what a lost connection had begun is over once the next one has the lock.
- All that is ours lies in a schema of its own. What others have in the database is neither seen nor touched.
- No wait is without a limit: for a connection, an answer, a lock, or the network.

Owns:   connections and their settings, transactions, and whether the database can be used at all.
Uses:   psycopg (an extra), revision, faults.
Never:  knows what is stored, or about the event loop: everything here blocks, and runs in the threads of ``sql``.
"""

from __future__ import annotations

import math
import os
import select
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.exc import ArgumentError, DisconnectionError, SQLAlchemyError

from streaming.config import Settings
from streaming.errors import StoreUnavailable
from streaming.store.database import Inspection
from streaming.store.faults import FEW_RIGHTS, READ_ONLY, faults, kind, reason, words
from streaming.store.pipeline import one_trip
from streaming.store.planner import DETOURS
from streaming.store.revision import Tell, check_current, make_current, stored_revision
from streaming.store.schema import APPLICATION_ID, REVISION, SCHEMA, feed, metadata

RV = TypeVar("RV")

#: Advisory locks belong to one database: the key names the program and the schema.
LOCK_KEY = (APPLICATION_ID << 32 | zlib.crc32(SCHEMA.encode())) & (1 << 63) - 1

#: The oldest one that all of this has been tried with.
VERSION_MIN = 15

#: How a dead network is noticed: probes after so many seconds of silence, so often, so many in vain.
KEEPALIVES = {"idle": 10, "interval": 5, "count": 3}

#: How often it is looked whether a lock has become free, and for how long at the start: the database may not have
#: noticed yet that the server before was killed.
LOCK_POLL_S = 0.05

#: When a connection was lost, its lock is waited for so long: more tries follow.
AGAIN_S = 1.0

_SET = "SELECT " + ", ".join(
    f"set_config('{name}', %s, false)"
    for name in (
        "search_path",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        *(f"tcp_keepalives_{name}" for name in KEEPALIVES),
    )
)
#: The writer knows its rows by their keys, however few there were when a statement was prepared.
_BY_INDEX = "SELECT " + ", ".join(f"set_config('{name}', 'off', false)" for name in DETOURS)
#: May our schema be made, if it is missing?
_MAY_MAKE = """
SELECT to_regnamespace(%s) IS NOT NULL, has_database_privilege(current_database(), 'CREATE'), quote_ident(current_user)
"""
_RIGHTS = """
SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool,
    bool_and(has_table_privilege(name, needed))
FROM unnest(%s::text[]) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS needed
"""
_SESSION = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END_SESSION = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s"
_HOLDER = """
SELECT activity.pid, activity.application_name FROM pg_locks
JOIN pg_stat_activity AS activity ON activity.pid = pg_locks.pid
WHERE locktype = 'advisory' AND granted AND activity.datname = current_database()
AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 1
"""


class _Piecemeal(psycopg.ServerCursor[Any]):
    """A cursor that the end of its connection has closed: who uses that one next is told, and that is enough."""

    def close(self) -> None:
        try:
            super().close()
        except psycopg.OperationalError:
            if not self.connection.closed:
                raise
            super().close()  # now it asks nobody


class _Connection(psycopg.Connection[Any]):
    """A connection that does not wait for ever: one whose server is silent for too long is closed.

    The limits of the server itself do not help where the network has swallowed them.
    """

    limit_s: float

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        limit_s = self.limit_s if timeout is None else timeout
        begun = time.monotonic()
        try:
            return super().wait(gen, interval, limit_s)
        except psycopg.OperationalError:
            if time.monotonic() - begun >= limit_s:
                self.close()
            raise


class PostgresDatabase:
    """One database, one writer, some readers.

    Args:
        settings: ``store_url``, ``store_connections``, and the limits ``store_wait_s`` and ``store_timeout_s``.

    Raises:
        StoreUnavailable: the URL cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = _url(settings.store_url)
        self._wait_s = settings.store_wait_s
        self._timeout_s = settings.store_timeout_s
        self.readers = settings.store_connections - 1
        self._session: tuple[int, Any] | None = None  # the last one that had the lock
        self._opened = False
        self._writer = self._engine(1, self._connect_writer)
        self._questions = self._engine(self.readers, self._connect_reader)

    # -- what `Database` asks for ----------------------------------------------------------------------------------

    def open(self, upgrade: Tell | None = None) -> None:
        """See `Database.open`."""
        with self._usable(), self._writer.begin() as connection:
            _check_server(connection)
            _make_schema(connection)
            if upgrade is not None:
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            make_current(connection, upgrade)
            _check_rights(connection)
        self._opened = True

    def close(self) -> None:
        """See `Database.close`."""
        self._questions.dispose()
        self._writer.dispose()
        self._session, self._opened = None, False

    def inspect(self) -> Inspection:
        """See `Database.inspect`."""
        with self._usable(), self._questions.connect() as connection:
            _check_server(connection)
            revision = stored_revision(connection)
            if revision == REVISION:
                _check_rights(connection)
            return Inspection(revision, _holder(connection.exec_driver_sql))

    @contextmanager
    def writing(self) -> Iterator[SqlConnection]:
        """See `Database.writing`."""
        with faults("written"), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def one_trip(self) -> Iterator[SqlConnection]:
        """See `Database.one_trip`."""
        with faults("written"), self._writer.begin() as connection, one_trip(_driver(connection)):
            yield connection

    @contextmanager
    def settled(self) -> Iterator[SqlConnection]:
        """See `Database.settled`: whoever has the lock knows that every transaction before is over."""
        with faults("read"), self._writer.connect() as connection:
            yield connection

    @contextmanager
    def reading(self, within_s: float | None = None) -> Iterator[SqlConnection]:
        """See `Database.reading`."""
        with faults("read", within_s), self._questions.connect() as connection:
            if within_s is not None:
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {_ms(within_s)}")
            yield connection

    @contextmanager
    def beside(self) -> Iterator[SqlConnection]:
        """See `Database.beside`: without the lock, and so never where the server writes."""
        with self._usable(), self._questions.begin() as connection:
            connection.exec_driver_sql("SET TRANSACTION READ WRITE")
            _check_server(connection)
            check_current(connection)
            yield connection

    def checked_out(self) -> int:
        """Connections in use now."""
        return sum(engine.pool.checkedout() for engine in (self._writer, self._questions))  # type: ignore[attr-defined]  # a QueuePool

    # -- connections -----------------------------------------------------------------------------------------------

    def _engine(self, size: int, connect: Callable[[], _Connection]) -> Engine:
        engine = create_engine(self._url, creator=connect, pool_size=size, max_overflow=0, pool_timeout=self._wait_s)
        event.listen(engine, "checkout", _drop_dead)
        return engine

    def _connect(self) -> _Connection:
        """A connection with all its limits; psycopg's errors become SQLAlchemy's outside."""
        _, options = self._writer.dialect.create_connect_args(self._url)
        given = {
            "connect_timeout": max(2, math.ceil(self._wait_s)),
            "application_name": f"streaming, process {os.getpid()} on {socket.gethostname()}",
            "tcp_user_timeout": _ms(self._timeout_s + self._wait_s),
            **{f"keepalives_{name}": value for name, value in KEEPALIVES.items()},
        }
        connection = _Connection.connect(**{**given, **options}, autocommit=True)
        connection.limit_s = self._timeout_s + self._wait_s
        connection.server_cursor_factory = _Piecemeal
        try:
            limit = str(_ms(self._timeout_s))
            connection.execute(_SET, (SCHEMA, limit, limit, limit, *map(str, KEEPALIVES.values())))
        except BaseException:
            connection.close()
            raise
        connection.autocommit = False
        return connection

    def _connect_reader(self) -> _Connection:
        connection = self._connect()
        connection.read_only = True
        return connection

    def _connect_writer(self) -> _Connection:
        """A connection that has the lock.

        Raises:
            StoreUnavailable: somebody else has it.
        """
        connection = self._connect()
        try:
            connection.autocommit = True
            connection.execute(_BY_INDEX)
            self._take_lock(connection)
            self._session = connection.execute(_SESSION).fetchone()
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection

    def _take_lock(self, connection: _Connection) -> None:
        if self._session is not None:
            # The one before may be alive still, where nobody has told its server that it is not.
            connection.execute(_END_SESSION, self._session)
        deadline = time.monotonic() + min(self._wait_s, AGAIN_S if self._opened else math.inf)
        while not _try_lock(connection):
            if time.monotonic() > deadline:
                if self._opened:
                    raise StoreUnavailable("The store cannot be written: another server has taken its database.")
                raise StoreUnavailable(
                    f"it is in use by {_holder(connection.execute) or 'another server'}: "
                    "stop that one, or choose another STREAMING_STORE_URL"
                )
            time.sleep(LOCK_POLL_S)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        name = f"The database {self._url.database!r}"
        try:
            yield
        except SQLAlchemyError as error:
            raise kind(error)(f"{name} cannot be used: {reason(error)}.") from error
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{name} cannot be used: {error.detail}.") from error


def _url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or not url.database:
        raise StoreUnavailable(
            "STREAMING_STORE_URL cannot be read, or names no database; say postgresql+psycopg://user@host/database."
        )
    return url


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _driver(connection: SqlConnection) -> _Connection:
    made: _Connection = connection.connection.driver_connection  # type: ignore[assignment]  # what `_connect` has made
    return made


def _drop_dead(connection: _Connection, *_: object) -> None:
    """Do not use a connection that has something to say although nobody has asked: that is its end."""
    poll = select.poll()
    if not connection.closed:
        poll.register(connection.pgconn.socket, select.POLLIN)
    if connection.closed or poll.poll(0):
        raise DisconnectionError("the server has ended it")


def _try_lock(connection: psycopg.Connection[Any]) -> bool:
    (taken,) = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone() or (False,)
    return bool(taken)


def _holder(execute: Callable[..., Any]) -> str | None:
    """Who has the lock, in words."""
    found = execute(_HOLDER, (LOCK_KEY >> 32, LOCK_KEY & 0xFFFFFFFF)).fetchone()
    return None if found is None else f"{found[1] or 'somebody'} (session {found[0]})"


def _check_server(connection: SqlConnection) -> None:
    version, encoding = connection.exec_driver_sql(
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding')"
    ).one()
    if version < VERSION_MIN:
        raise StoreUnavailable(f"it is PostgreSQL {version}; {VERSION_MIN} is the oldest that will do")
    if encoding != "UTF8":
        raise StoreUnavailable(f"its encoding is {encoding}; only UTF8 holds every text")


def _make_schema(connection: SqlConnection) -> None:
    """Only where it is missing: whoever may not make one can be given one."""
    there, possible, user = connection.exec_driver_sql(_MAY_MAKE, (SCHEMA,)).one()
    if there:
        return
    if not possible:
        raise StoreUnavailable(
            f"its user may not create a schema; let its owner run: CREATE SCHEMA {SCHEMA} AUTHORIZATION {user}"
        )
    connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")


def _check_rights(connection: SqlConnection) -> None:
    """See now that every table may be written, as the first commit would be tried for ever.

    Raises:
        StoreUnavailable: the user has too few rights, or the database is read-only.
    """
    names = [table.name for table in (*metadata.sorted_tables, feed)]
    read_only, allowed = connection.exec_driver_sql(_RIGHTS, (names,)).one()
    if read_only or not allowed:
        raise StoreUnavailable(words(READ_ONLY if read_only else FEW_RIGHTS))
