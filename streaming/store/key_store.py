"""API keys for whoever makes and revokes them, beside a server that may be running.

Owns:   `KeyStore`.
Uses:   database (the way to the tables), credentials (statements).
Never:  takes the lock of a server, but to set up an empty database; runs in an event loop: everything here blocks.
"""

from __future__ import annotations

from streaming.rules.access import ApiKey
from streaming.store import credentials
from streaming.store.database import Database


class KeyStore:
    """The API keys of one database.

    Args:
        database: where; an empty one is set up, unless a server is just doing that.

    Raises:
        StoreUnavailable: it cannot be used, or has the schema of another version; and what would help.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        try:
            if database.inspect().revision is None:
                database.open()
                database.close()
            with database.beside():
                pass
        except BaseException:
            database.close()
            raise

    def add(self, key: ApiKey) -> None:
        """Store a new key; a server knows it when it looks next.

        Raises:
            StoreUnavailable: it was not stored.
        """
        with self._database.beside() as connection:
            credentials.add_key(connection, key)

    def all(self) -> list[ApiKey]:
        """All keys, revoked ones as well, oldest first; one that cannot be read is a revoked one of ``unreadable``.

        A log line names it.

        Raises:
            StoreUnavailable: they cannot be read.
        """
        with self._database.reading() as connection:
            return credentials.api_keys(connection)

    def revoke(self, id: str, time: str) -> bool:
        """Let a key open nothing any more.

        Args:
            id: of the key.
            time: RFC 3339; that of the first time counts.

        Returns:
            Whether there is such a key.

        Raises:
            StoreUnavailable: it was not stored.
        """
        with self._database.beside() as connection:
            return credentials.revoke_key(connection, id, time)

    def close(self) -> None:
        """Close every connection; closing twice is allowed."""
        self._database.close()
