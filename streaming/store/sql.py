"""The durable store: a SQL database, one writer thread, some reader threads.

Owns:   which thread does what, the order of all writes, how long a question waits for a thread, and the repeat of a
        transaction that met another one.
Uses:   database (connections; of ``sqlite`` or ``postgres``), writes and reads (statements), guard.
Never:  blocks the event loop, or leaves a transaction half done: each one is a plain function in one thread, which ends
        in its own time whatever becomes of the task that waits for it.

Why threads of our own: a busy event loop makes every change between threads dear. So a transaction is one change there
and one back, however many statements it has; an asynchronous driver has two for each statement.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from sqlalchemy import Connection

from streaming.config import Settings
from streaming.engine.journal import TROUBLES, Commit, Committed, FeedItem, Pruned, RecordPage, RecordQuery, Walk
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Record
from streaming.rules.access import ApiKey, Principal
from streaming.rules.breaker import Circuit
from streaming.rules.filters import Filter
from streaming.rules.retention import Bounds, Retention
from streaming.rules.statistics import Statistics, StatisticsQuery
from streaming.store import credentials, figures, pruning, reads, writes
from streaming.store.database import Database
from streaming.store.faults import may_be_repeated, was_unexpected
from streaming.store.guard import Guard
from streaming.store.listing import Listing

P = ParamSpec("P")
T = TypeVar("T")

#: A transaction that meets another one is tried so often, after pauses of 0 to 20, 40, 80, 160 ms.
ATTEMPTS_MAX = 5
PAUSE_S = 0.02

_log = structlog.get_logger(__name__)


class SqlStore:
    """A durable journal in a SQL database.

    Args:
        database: where.
        settings: how long a question waits for a connection, and how long a list may take.
        guard: leaves a database alone that does not answer; None for one that cannot go away.
    """

    durable = True

    def __init__(self, database: Database, settings: Settings, guard: Guard | None = None) -> None:
        self._database = database
        self._listing = Listing(settings.scan_max)
        self._wait_s = settings.store_wait_s
        self._query_s = settings.query_timeout_s
        self._guard = guard
        self._troubles = dict.fromkeys(TROUBLES, 0)
        self._last_position: int | None = None  # that the writer has given, if it knows
        self._writer: ThreadPoolExecutor | None = None
        self._readers: ThreadPoolExecutor | None = None

    @property
    def circuit(self) -> Circuit | None:
        """Of the breaker in front of the database; None without one."""
        return None if self._guard is None else self._guard.circuit

    @property
    def troubles(self) -> Mapping[str, int]:
        """See `Journal.troubles`."""
        return self._troubles

    async def open(self) -> None:
        """Take the lock of the database, and see that its schema is ours; an empty one is set up.

        Raises:
            StoreUnreachable: nobody answers there.
            StoreUnavailable: one line that says which database, why, and what would help.
        """
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._readers = ThreadPoolExecutor(self._database.readers, "store-reader")
        try:
            await _run(self._writer, self._database.open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was begun, close the database, give back its lock, end the threads; closing twice is allowed.

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
        if self._guard is not None:
            self._guard.let_through()
        with self._counted("write"):
            return await _run(self._writer, lambda: _repeated(lambda: self._commit(commit)))

    async def outcome(self, commit: Commit) -> Committed | None:
        """See `Journal.outcome`. It waits for the commit's own end, if that is still under way."""

        def query() -> Committed | None:
            with self._heard(), self._database.settled() as connection:
                return writes.outcome(connection, commit)

        if self._guard is not None:
            self._guard.let_through()
        with self._counted("read"):
            return await _run(self._writer, query)

    async def record(self, task_id: str) -> Record | None:
        """See `Journal.record`."""
        return await self._read(reads.record, task_id)

    async def is_seen_by(self, principal: Principal, task_id: str) -> bool:
        """See `Journal.is_seen_by`."""
        return await self._read(reads.is_seen_by, principal, task_id)

    async def records(self, query: RecordQuery) -> RecordPage:
        """See `Journal.records`."""
        return await self._list(self._listing.records, query)

    async def count(self, filter: Filter, group_by: Sequence[str] = ()) -> list[tuple[tuple[str | None, ...], int]]:
        """See `Journal.count`."""
        return await self._list(self._listing.count, filter, group_by)

    async def changes(self, task_id: str) -> list[Change]:
        """See `Journal.changes`."""
        return await self._read(reads.history, task_id)

    async def acknowledge(self, task_id: str, time: str) -> Record | None:
        """See `Journal.acknowledge`."""
        self._check()
        return await self._write(writes.acknowledge, task_id, time)

    async def unfinished(self) -> list[Record]:
        """See `Journal.unfinished`."""
        return await self._read(reads.unfinished)

    async def events_after(self, task_id: str, seq: int, *, last_seq: int, limit: int) -> list[Event]:
        """See `Journal.events_after`."""
        return await self._read(reads.events_after, task_id, seq, last_seq, limit)

    async def feed_after(
        self, position: int, *, last_position: int, limit: int, principal: Principal | None = None
    ) -> list[FeedItem]:
        """See `Journal.feed_after`."""
        return await self._read(reads.feed_after, position, last_position, limit, principal)

    async def last_position(self) -> int:
        """See `Journal.last_position`."""
        return await self._read(reads.last_position)

    async def key(self, principal: str, key: str, *, created_after: str) -> IdempotencyKey | None:
        """See `Journal.key`."""
        return await self._read(reads.key, principal, key, created_after)

    async def count_keys(self, principal: str, *, limit: int) -> int:
        """See `Journal.count_keys`."""
        return await self._read(reads.count_keys, principal, limit)

    async def forget_keys(self, *, created_before: str) -> int:
        """See `Journal.forget_keys`."""
        self._check()
        return await self._write(writes.delete_keys, created_before)

    async def delete(self, task_id: str) -> bool:
        """See `Journal.delete`."""
        self._check()
        return await self._write(writes.delete_task, task_id)

    async def task_types(self) -> list[str]:
        """See `Journal.task_types`."""
        return await self._read(pruning.task_types)

    async def prune(self, type: str, bounds: Bounds, *, now: str, limit: int) -> Pruned:
        """See `Journal.prune`. As long as there is nothing to remove, the writer is not asked."""
        if not await self._read(pruning.surplus, type, bounds, now, limit):
            return Pruned()
        return await self._write(pruning.prune, type, bounds, now, limit)

    async def outgrown(self, policy: Retention, walk: Walk, *, now: str, limit: int) -> tuple[list[str], Walk | None]:
        """See `Journal.outgrown`."""
        return await self._read(pruning.outgrown, policy, walk, now, limit)

    async def trim(self, task_ids: Sequence[str], policy: Retention, *, now: str, limit: int) -> int:
        """See `Journal.trim`."""
        return await self._write(pruning.trim, task_ids, policy, now, limit)

    async def rehearse(self, type: str, policy: Retention, *, now: str) -> Pruned:
        """What `prune` and `trim` would remove of the tasks of a type, one call after the other; it takes its time."""
        return await self._read(pruning.rehearse, type, policy, now)

    async def durations(self, type: str, *, limit: int) -> list[float]:
        """See `Journal.durations`."""
        return await self._read(figures.durations, type, limit)

    async def statistics(self, query: StatisticsQuery) -> Statistics:
        """See `Journal.statistics`."""
        return await self._list(figures.figures, query)

    async def api_keys(self) -> list[ApiKey]:
        """See `Journal.api_keys`."""
        return await self._read(credentials.api_keys)

    async def secret(self, name: str, fresh: str) -> str:
        """See `Journal.secret`. It is written only where there is none."""
        found = await self._read(credentials.secret, name)
        return await self._write(credentials.keep_secret, name, fresh) if found is None else found

    @contextmanager
    def _counted(self, what: str) -> Iterator[None]:
        """Count what goes wrong inside; in the event loop, not in the threads."""
        try:
            yield
        except StoreUnavailable:
            self._troubles[what] += 1
            raise

    def _check(self) -> None:
        if self._guard is not None:
            self._guard.check()

    def _heard(self) -> AbstractContextManager[None]:
        return nullcontext() if self._guard is None else self._guard.heard()

    def _commit(self, commit: Commit) -> Committed:
        expected, self._last_position = self._last_position, None  # it is known again when this has ended well
        with self._heard():
            done = None if expected is None else self._commit_expected(commit, expected)
            if done is None:
                expected = None
                with self._database.writing() as connection:
                    done = writes.write(connection, commit)
        self._last_position = done.positions[-1] if done.positions else expected
        return done

    def _commit_expected(self, commit: Commit, last_position: int) -> Committed | None:
        """Try it in one trip; None means that nothing was written, and that it has to be asked what there is."""
        trip = self._database.one_trip()
        if trip is None:
            return None
        try:
            with trip as connection:
                return writes.write_expected(connection, commit, last_position)
        except StoreUnavailable as problem:
            if not was_unexpected(problem):
                raise
        return None

    async def _write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def attempt() -> T:
            with self._heard(), self._database.writing() as connection:
                return work(connection, *args, **kwargs)

        with self._counted("write"):
            return await _run(self._writer, lambda: _repeated(attempt))

    async def _read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._counted("read"):
            return await self._ask(None, work, *args, **kwargs)

    async def _list(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `_read`, for questions that may be dear."""
        with self._counted("read"):
            return await self._ask(self._query_s, work, *args, **kwargs)

    async def _ask(
        self,
        within_s: float | None,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a query in a reader's thread, if one gets free in time."""

        def query() -> T:
            with self._heard(), self._database.reading(within_s) as connection:
                return work(connection, *args, **kwargs)

        self._check()
        if self._readers is None:
            raise StoreUnavailable(_CLOSED)
        job = self._readers.submit(query)
        answer = asyncio.wrap_future(job)
        try:
            await asyncio.wait({answer}, timeout=self._wait_s)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        if not answer.done() and job.cancel():
            raise StoreUnavailable("The store is busy: no connection got free in time.")
        return await answer


_CLOSED = "The store is closed."


async def _run(threads: ThreadPoolExecutor | None, work: Callable[[], T]) -> T:
    if threads is None:
        raise StoreUnavailable(_CLOSED)
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _repeated(attempt: Callable[[], T]) -> T:
    """Run a transaction again that the database has taken back because it met another one."""
    for number, pause_s in enumerate(_pauses_s(), start=1):
        try:
            return attempt()
        except StoreUnavailable as problem:
            if not may_be_repeated(problem):
                raise
            _log.warning(
                "a transaction was taken back, and is tried again",
                reason=str(problem),
                attempt=number,
                pause_s=round(pause_s, 3),
            )
        time.sleep(pause_s)
    return attempt()


def _pauses_s() -> Iterator[float]:
    """Between the attempts: chance keeps two from meeting again."""
    for number in range(ATTEMPTS_MAX - 1):
        yield random.uniform(0, PAUSE_S * 2**number)  # noqa: S311  # nobody gains by guessing it
