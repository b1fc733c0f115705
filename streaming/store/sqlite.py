"""The SQLite store: one file, one writer thread, some reader threads.

Owns:   which thread does what, and the order of all writes.
Uses:   database (connections), writes and reads (statements).
Never:  blocks the event loop, or leaves a transaction half done: each one is a plain function in one thread, which ends
        in its own time whatever becomes of the task that waits for it.

Why threads of our own: a busy event loop makes every change between threads dear. So a transaction is one change there
and one back, however many statements it has; an asynchronous driver has two for each statement.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from streaming.config import Settings
from streaming.engine.journal import Commit, Committed, FeedItem, RecordPage, RecordQuery
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Record
from streaming.store import reads, writes
from streaming.store.database import Database

P = ParamSpec("P")
T = TypeVar("T")

_PREFIX = "sqlite:///"
_READERS = 4


class SqliteStore:
    """A durable journal in one SQLite file.

    Args:
        settings: ``store_url``, ``sqlite_synchronous``, and ``store_wait_s`` for locks of other processes.

    Raises:
        StoreUnavailable: the URL names no file.
    """

    durable = True

    def __init__(self, settings: Settings) -> None:
        name = settings.store_url.removeprefix(_PREFIX)
        if name in ("", ":memory:"):
            named = f"STREAMING_STORE_URL={settings.store_url}"
            raise StoreUnavailable(f"{named} names no file; say memory:// to keep nothing.")
        self._database = Database(
            Path(name), synchronous=settings.sqlite_synchronous, busy_s=settings.store_wait_s, readers=_READERS + 1
        )
        self._writer: ThreadPoolExecutor | None = None
        self._readers: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Take the lock of the file, and upgrade its schema.

        Raises:
            StoreUnavailable: one line that says which file, why, and what would help.
        """
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._readers = ThreadPoolExecutor(_READERS, "store-reader")
        try:
            await _run(self._writer, self._database.open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was begun, close the file, give back its lock, end the threads; closing twice is allowed.

        A cancelled one goes on by itself.
        """
        writer, readers = self._writer, self._readers
        self._writer = self._readers = None
        if writer is None or readers is None:
            return

        def finish() -> None:
            readers.shutdown()
            self._database.close()

        last = asyncio.wrap_future(writer.submit(threading.current_thread))
        finished = asyncio.wrap_future(writer.submit(finish))
        writer.shutdown(wait=False)
        thread = await last
        await asyncio.wait({finished})  # a cancel does not take it out of the queue
        while thread.is_alive():  # noqa: ASYNC110  # it has nothing left to do but to end, and cannot tell
            await asyncio.sleep(0)
        finished.result()

    async def commit(self, commit: Commit) -> Committed:
        """See `Journal.commit`. Once begun it is finished, also when the caller is cancelled."""
        return await self._write(writes.write, commit)

    async def outcome(self, commit: Commit) -> Committed | None:
        """See `Journal.outcome`. It waits for the commit's own end, if that is still under way."""

        def query() -> Committed | None:
            with self._database.reading() as connection:
                return writes.outcome(connection, commit)

        return await _run(self._writer, query)

    async def record(self, task_id: str) -> Record | None:
        """See `Journal.record`."""
        return await self._read(reads.record, task_id)

    async def records(self, query: RecordQuery) -> RecordPage:
        """See `Journal.records`."""
        return await self._read(reads.records, query)

    async def changes(self, task_id: str) -> list[Change]:
        """See `Journal.changes`."""
        return await self._read(reads.history, task_id)

    async def acknowledge(self, task_id: str, time: str) -> Record | None:
        """See `Journal.acknowledge`."""
        return await self._write(writes.acknowledge, task_id, time)

    async def unfinished(self) -> list[Record]:
        """See `Journal.unfinished`."""
        return await self._read(reads.unfinished)

    async def events_after(self, task_id: str, seq: int, *, last_seq: int, limit: int) -> list[Event]:
        """See `Journal.events_after`."""
        return await self._read(reads.events_after, task_id, seq, last_seq, limit)

    async def feed_after(self, position: int, *, last_position: int, limit: int) -> list[FeedItem]:
        """See `Journal.feed_after`."""
        return await self._read(reads.feed_after, position, last_position, limit)

    async def last_position(self) -> int:
        """See `Journal.last_position`."""
        return await self._read(reads.last_position)

    async def key(self, principal: str, key: str, *, created_after: str) -> IdempotencyKey | None:
        """See `Journal.key`."""
        return await self._read(reads.key, principal, key, created_after)

    async def forget_keys(self, *, created_before: str) -> int:
        """See `Journal.forget_keys`."""
        return await self._write(writes.delete_keys, created_before)

    async def delete(self, task_id: str) -> bool:
        """See `Journal.delete`."""
        return await self._write(writes.delete_task, task_id)

    async def _write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def transaction() -> T:
            with self._database.writing() as connection:
                return work(connection, *args, **kwargs)

        return await _run(self._writer, transaction)

    async def _read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def query() -> T:
            with self._database.reading() as connection:
                return work(connection, *args, **kwargs)

        return await _run(self._readers, query)


async def _run(threads: ThreadPoolExecutor | None, work: Callable[[], T]) -> T:
    if threads is None:
        raise StoreUnavailable("The store is closed.")
    return await asyncio.get_running_loop().run_in_executor(threads, work)
