"""What the store asks of a database.

Owns:   the `Database` protocol: connections, transactions, the lock, the schema.
Never:  implements it (``sqlite``, ``postgres``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from streaming.store.revision import Tell


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is at a ``store_url``.

    Attributes:
        revision: of its tables; None if there are none yet.
        holder: who has its lock, in words; None if nobody has.
    """

    revision: str | None
    holder: str | None


class Database(Protocol):
    """Connections to one database. Everything here blocks."""

    #: Connections that read at the same time, at most.
    readers: int

    def open(self, upgrade: Tell | None = None) -> None:
        """Take the lock, connect, and see that the schema is that of this version.

        Args:
            upgrade: upgrade an older schema, and tell each step; None refuses it. An empty database is always set up.

        Raises:
            StoreUnreachable: nobody answers there.
            StoreUnavailable: one line that says which database, why, and what would help.
        """

    def close(self) -> None:
        """Close every connection and give back the lock; closing twice is allowed."""

    def inspect(self) -> Inspection:
        """Look at it, and change nothing.

        Raises:
            StoreUnavailable: it cannot be looked at, or another program made it.
        """

    def writing(self) -> AbstractContextManager[Connection]:
        """One transaction: committed at the end, rolled back by an exception.

        Raises:
            StoreUnavailable: it was not committed, or nobody knows; `faults.may_be_repeated` tells what was taken back.
        """

    def one_trip(self) -> AbstractContextManager[Connection] | None:
        """As `writing`, sent whole: what is asked inside has no answer before the end.

        Returns:
            None if the database is in this process: an answer is no trip.

        Raises:
            StoreUnavailable: as `writing`; `faults.was_unexpected` tells that `statements.expect` was wrong.
        """

    def settled(self) -> AbstractContextManager[Connection]:
        """A connection that sees what has become of every transaction of `writing`.

        Raises:
            StoreUnavailable: it cannot be read, or one of them may still be under way.
        """

    def beside(self) -> AbstractContextManager[Connection]:
        """As `writing`, without the lock: beside a server that may have it, for what no server writes. Needs no `open`.

        Raises:
            StoreUnavailable: it cannot be used, its schema is not that of this version, or nothing was committed.
        """

    def reading(self, within_s: float | None = None) -> AbstractContextManager[Connection]:
        """A connection for questions; it sees all that was committed before, and never blocks the writer.

        Args:
            within_s: seconds that each question may take.

        Raises:
            QueryTooSlow: it takes longer than ``within_s``.
            StoreUnavailable: it cannot be read.
        """
