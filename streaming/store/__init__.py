"""What remembers: the memory store and the SQLite store.

Owns:   which store a ``store_url`` means.
Never:  imports a database library before somebody asks for a database; that takes a quarter of a second.
"""

from __future__ import annotations

from streaming.config import Settings
from streaming.engine.journal import Journal

__all__ = ["open_store"]


def open_store(settings: Settings) -> Journal:
    """Choose the store that ``settings.store_url`` names.

    Args:
        settings: where the store is, and its limits.

    Returns:
        The store, not connected yet: await its ``open()``.

    Raises:
        StoreUnavailable: the URL names no file.
    """
    if settings.store_url == "memory://":
        from streaming.store.memory import MemoryStore

        return MemoryStore(settings)
    from streaming.store.sqlite import SqliteStore

    return SqliteStore(settings)
