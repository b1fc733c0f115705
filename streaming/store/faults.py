"""What went wrong in a database or with its file, in words for people.

Owns:   the translation of every error of the driver, of SQLAlchemy and of the operating system to `StoreUnavailable`.
Never:  lets SQL, a path or a driver's text into the message; they stay in the chain of exceptions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from streaming.errors import StoreUnavailable

#: Primary result codes of SQLite (https://sqlite.org/rescode.html).
_REASONS = MappingProxyType(
    {
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
    }
)
_UNKNOWN = "an unexpected error"


@contextmanager
def faults(action: str) -> Iterator[None]:
    """Turn what goes wrong inside into `StoreUnavailable`.

    Args:
        action: what was tried, as in "The store cannot be ``written``".
    """
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreUnavailable(f"The store cannot be {action}: {reason(error)}.") from error


def reason(error: SQLAlchemyError | sqlite3.Error) -> str:
    """Why, without internals: "its disk is full"."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    # An extended code carries the primary one in its lowest byte. Errors of the Python driver itself have none.
    code = getattr(cause, "sqlite_errorcode", None)
    return _UNKNOWN if code is None else _REASONS.get(code & 0xFF, _UNKNOWN)
