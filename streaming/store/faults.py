"""What went wrong in a database or with its file, in words for people.

Owns:   the translation of every error of the drivers and of SQLAlchemy to `StoreUnavailable`: which of them mean that
        nobody answers, and which that the same may be repeated at once.
Never:  lets SQL, a path, a host, a password or a driver's text into the message; they stay in the chain of exceptions.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streaming.errors import QueryTooSlow, StoreUnavailable, StoreUnreachable

_OTHER_TABLES = "its tables are not those of this version"

#: Primary result codes of SQLite (https://sqlite.org/rescode.html).
_SQLITE: Mapping[int, str] = MappingProxyType(
    {
        sqlite3.SQLITE_ERROR: _OTHER_TABLES,  # the statements are always the same ones
        sqlite3.SQLITE_FULL: "its disk is full",
        sqlite3.SQLITE_IOERR: "its disk does not work, or has no room left",
        sqlite3.SQLITE_READONLY: "it is read-only",
        sqlite3.SQLITE_PERM: "it is read-only",
        sqlite3.SQLITE_BUSY: "another process has locked it",
        sqlite3.SQLITE_LOCKED: "another process has locked it",
        sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
        sqlite3.SQLITE_NOTADB: "its file is no SQLite database",
        sqlite3.SQLITE_CORRUPT: "its file is damaged",
        sqlite3.SQLITE_CONSTRAINT: "what it was given contradicts what it holds",
        sqlite3.SQLITE_TOOBIG: "a value is too large for it",
        sqlite3.SQLITE_NOMEM: "there is no memory left",
        sqlite3.SQLITE_INTERRUPT: "it takes too long",
    }
)

FEW_RIGHTS, READ_ONLY = "42501", "25006"

#: What stands for a SQLSTATE where there is none: the connection was lost, or never came about.
_LOST, _NO_HOST = "08", "08 host"
_NO_VALUE, _NO_OPTION, _NO_PROOF = "22", "option", "proof"

#: SQLSTATEs of PostgreSQL (https://www.postgresql.org/docs/current/errcodes-appendix.html), whole or by their class.
_POSTGRES: Mapping[str, str] = MappingProxyType(
    {
        "40001": "its transaction met another one (40001 serialization failure)",
        "40P01": "its transaction met another one (40P01 deadlock)",
        "53100": "its disk is full",
        "53200": "it has no memory left",
        "53300": "it has no connection left",
        "55P03": "a lock was not free in time",
        "57014": "it takes too long",
        "57P01": "it is being shut down",
        "57P02": "it has crashed",
        "57P03": "it is starting or being shut down",
        "57P05": "the connection was idle for too long",
        READ_ONLY: "it is read-only",
        "25P03": "the transaction was idle for too long",
        FEW_RIGHTS: "its user has too few rights; let it own the schema 'streaming' and all that is in it",
        "08": "nobody answers there, or the connection was lost",
        "22": "a value does not fit into it",
        "23": "what it was given contradicts what it holds",
        "28": "it refuses this user or password",
        "3D": "there is no such database",
        "42": _OTHER_TABLES,
        "53": "it has no resources left",
        "58": "its disk does not work, or has no room left",
        _NO_HOST: "no address is known for its host",
        _NO_OPTION: "STREAMING_STORE_URL has an option that is unknown, or whose value cannot be",
        _NO_PROOF: "it does not offer the encryption or the proof of who it is that is demanded",
        "XX": "it is damaged",
    }
)

#: The server is there for nobody, or not for us just now.
_AWAY = frozenset({"53300", "57P01", "57P02", "57P03", "57P05", "25P03"})
_CONFLICT = frozenset({"40001", "40P01"})

#: A division by zero: how a transaction ends whose `statements.expect` was wrong.
UNEXPECTED = "22012"

#: What goes wrong with the connection itself has no SQLSTATE: libpq passes on nothing but a text. What no line matches
#: counts as nobody being there, and is tried again.
_REFUSALS = (
    (re.compile(r"authentication failed|no password supplied|pg_hba\.conf|role .* does not exist|not permitted to log"),
     "28"),
    (re.compile(r"database .* does not exist|permission denied for database"), "3D"),
    (re.compile(r"too many clients|connection slots|too many connections"), "53300"),
    (re.compile(r"is starting up|is shutting down|not yet accepting|recovery mode"), "57P03"),
    (re.compile(r"failed to resolve host|could not translate host name"), _NO_HOST),
    (re.compile(r"invalid connection option|bad value for|invalid \S+ value|invalid port number|invalid integer value|"
                r"could not parse network address|unrecognized configuration parameter|invalid value for parameter"),
     _NO_OPTION),
    (re.compile(r"does not support SSL|certificate|encryption required|channel binding required|method requirement"),
     _NO_PROOF),
)  # fmt: skip

_UNKNOWN = "an unexpected error"


@contextmanager
def faults(action: str, within_s: float | None = None) -> Iterator[None]:
    """Turn what goes wrong inside into `StoreUnavailable`.

    Args:
        action: what was tried, as in "The store cannot be ``written``".
        within_s: seconds that a question was given; to take longer is `QueryTooSlow`.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, SQLAlchemyError | sqlite3.Error) and not _is_a("Error", error):
            raise
        if within_s is not None and _is_too_slow(error):
            raise QueryTooSlow(f"The store takes longer than {within_s:g} s for this; ask for less.") from error
        raise kind(error)(f"The store cannot be {action}: {reason(error)}.") from error


def kind(error: Exception) -> type[StoreUnavailable]:
    """What can be done about it."""
    cause = _cause(error)
    if not _is_a("Error", cause):
        return StoreUnavailable
    state = _sqlstate(cause)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return StoreUnreachable if lost or state[:2] == _LOST or state in _AWAY else StoreUnavailable


def may_be_repeated(problem: StoreUnavailable) -> bool:
    """Whether a transaction met another one: it was taken back, and the same may succeed at once."""
    return _sqlstate(_cause(problem.__cause__)) in _CONFLICT


def was_unexpected(problem: StoreUnavailable) -> bool:
    """Whether something is not as `statements.expect` had it: the transaction was taken back."""
    return _sqlstate(_cause(problem.__cause__)) == UNEXPECTED


def reason(error: Exception) -> str:
    """Why, without internals: "its disk is full"."""
    if isinstance(error, PoolTimeout):
        return "all its connections are busy"
    cause = _cause(error)
    if _is_a("Error", cause):
        return words(_sqlstate(cause))
    # An extended code carries the primary one in its lowest byte. Errors of the Python driver itself have none.
    code = getattr(cause, "sqlite_errorcode", None)
    return _UNKNOWN if code is None else _SQLITE.get(code & 0xFF, _UNKNOWN)


def words(sqlstate: str) -> str:
    """What a state of PostgreSQL means."""
    return _POSTGRES.get(sqlstate) or _POSTGRES.get(sqlstate[:2], _UNKNOWN)


def _is_too_slow(error: Exception) -> bool:
    """Whether it was stopped since its time was up."""
    cause = _cause(error)
    code = getattr(cause, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_INTERRUPT or getattr(cause, "sqlstate", None) == "57014"


def _cause(error: BaseException | None) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _is_a(name: str, cause: BaseException | None) -> bool:
    """Whether it is this error of psycopg, or a kind of it; the driver need not be there to ask."""
    return any((cls.__module__, cls.__name__) == ("psycopg", name) for cls in type(cause).__mro__)


def _sqlstate(cause: BaseException | None) -> str:
    """The state, or what stands for it."""
    state: str | None = getattr(cause, "sqlstate", None)
    if state is not None:
        return state
    if _is_a("DataError", cause):
        return _NO_VALUE
    otherwise = _LOST if _is_a("OperationalError", cause) else ""
    text = str(cause)
    return next((state for pattern, state in _REFUSALS if pattern.search(text)), otherwise)
