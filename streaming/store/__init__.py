"""What remembers: memory, a SQLite file, or a PostgreSQL database.

Owns:   which store a ``store_url`` means.
Never:  imports a database library before somebody asks for a database; that takes a quarter of a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streaming.config import Settings
from streaming.engine.journal import Journal
from streaming.errors import StoreUnavailable

if TYPE_CHECKING:
    from streaming.store.database import Database
    from streaming.store.key_store import KeyStore

__all__ = ["open_database", "open_key_store", "open_store"]

_FILE = "sqlite:///"
_READERS = 4


def open_store(settings: Settings) -> Journal:
    """Choose the store that ``settings.store_url`` names.

    Args:
        settings: where the store is, and its limits.

    Returns:
        The store, not connected yet: await its ``open()``.

    Raises:
        StoreUnavailable: the URL names nothing that could be used, or its driver is not installed.
    """
    if settings.store_url == "memory://":
        from streaming.store.memory import MemoryStore

        return MemoryStore(settings)
    database = open_database(settings)
    from streaming.store.guard import Guard
    from streaming.store.sql import SqlStore

    guard = None if settings.store_url.startswith(_FILE) else Guard()
    return SqlStore(database, settings, guard)


def open_database(settings: Settings) -> Database:
    """The database that ``settings.store_url`` names, not connected yet.

    Raises:
        StoreUnavailable: the URL names nothing that could be used, or its driver is not installed.
    """
    if settings.store_url == "memory://":
        raise StoreUnavailable("STREAMING_STORE_URL=memory:// is no database.")
    if not settings.store_url.startswith(_FILE):
        return _postgres(settings)
    name = settings.store_url.removeprefix(_FILE)
    if name in ("", ":memory:"):
        named = f"STREAMING_STORE_URL={settings.store_url}"
        raise StoreUnavailable(f"{named} names no file; say memory:// to keep nothing.")
    from streaming.store.sqlite import SqliteFile

    synchronous, busy_s = settings.sqlite_synchronous, settings.store_wait_s
    return SqliteFile(Path(name), synchronous=synchronous, busy_s=busy_s, readers=_READERS)


def open_key_store(settings: Settings) -> KeyStore:
    """The API keys in the database that ``settings.store_url`` names, beside a server that may be running there.

    Raises:
        StoreUnavailable: the URL names no database that could be used; or it has the schema of another version.
    """
    if settings.store_url == "memory://":
        raise StoreUnavailable(
            "STREAMING_STORE_URL=memory:// keeps no API keys: name a database, or put keys into STREAMING_API_KEYS."
        )
    database = open_database(settings)
    from streaming.store.key_store import KeyStore

    return KeyStore(database)


def _postgres(settings: Settings) -> Database:
    try:
        import psycopg  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise StoreUnavailable(
            "PostgreSQL needs a driver that is not installed: pip install 'streaming[postgres]'"
        ) from error
    from streaming.store.postgres import PostgresDatabase

    return PostgresDatabase(settings)
