"""Group commit: everything that was submitted while one commit ran goes into the next one.

Owns:   the backlog, the order of the feed, the retry of a commit that failed, who waits for a commit.
Uses:   engine.batch (what one commit holds), engine.journal.Journal, engine.observer (who looks on).
Never:  makes anything visible before the journal has it, forgets an event, or stores one twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from streaming.engine.alarm import Alarm
from streaming.engine.batch import Batch, OnCreated
from streaming.engine.journal import Commit, Committed, Journal
from streaming.engine.observer import Observed
from streaming.engine.tables import Tables
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Record
from streaming.rules.pace import Pace, Rate

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 2.0

#: Commits in a second, in the long run, and how many without a pause after a rest: who asks now and then never waits.
COMMITS_PER_S = 500
COMMITS_AT_ONCE = 20

#: Where fewer events come in a second, eight in a pause, no commit ever pauses.
EVENTS_PER_S = 8 * COMMITS_PER_S

_TOO_LATE = "The server has stopped before this was stored."

_log = structlog.get_logger(__name__)

#: Told what was written: the events, the records as they are now, and what became of them.
OnCommitted = Callable[[Sequence[Event], Sequence[Record], Committed], None]


class Committer:
    """The one writer of a journal.

    Args:
        journal: where to write.
        on_committed: called after each commit, before any waiter is woken.
        events_max: events in one transaction, at most.
        on_broken: called if it fails for a mistake of ours.
        urgent: whether somebody waits for the next commit who does not say so here.
        observed: who is told last of all, and measures the time; None is nobody.
    """

    def __init__(
        self,
        journal: Journal,
        on_committed: OnCommitted,
        *,
        events_max: int,
        on_broken: Callable[[], None] = lambda: None,
        urgent: Callable[[], object] = lambda: False,
        observed: Observed | None = None,
    ) -> None:
        self.available = True
        self._on_broken = on_broken
        self._observed = observed or Observed()
        self._journal = journal
        self._on_committed = on_committed
        self._events_max = events_max
        self._batches: deque[Batch] = deque()
        self._alarm = Alarm()
        self._is_urgent = urgent
        self._urgent = Alarm()
        self._pace = Pace(per_s=COMMITS_PER_S, at_once=COMMITS_AT_ONCE)
        self._events = Rate(within_s=2 / COMMITS_PER_S)
        self._writing: Batch | None = None
        self._held_open = False
        self._closing = False
        self._closed = False
        self._too_late: StoreUnavailable | None = None
        self._writer: asyncio.Task[None] | None = None
        self._limit: asyncio.Timeout | None = None
        self._listeners: list[Callable[[], None]] = []

    # -- submitting ------------------------------------------------------------------------------------------------

    def submit(self, event: Event | None, record: Record | None = None) -> None:
        """Put one event, and the record as it is to be with it, into the next transaction.

        After the end it goes nowhere, and `committed` says so.
        """
        if self._closed:
            self._too_late = StoreUnavailable(_TOO_LATE)
            return
        batch = self._open_batch()
        if event is not None:
            batch.events.append(event)
        if record is not None:
            batch.updated[record.id] = record
        self._alarm.ring()

    def submit_change(self, change: Change) -> None:
        """Put a change of status into the transaction of the event that was submitted just now."""
        if not self._closed:
            self._batches[-1].changes.append(change)

    def submit_key(self, key: IdempotencyKey) -> None:
        """Put an idempotency key of a live task into the next transaction."""
        if not self._closed:
            self._open_batch().keys.append(key)
            self._alarm.ring()

    def create(
        self, event: Event, record: Record, change: Change, key: IdempotencyKey | None, on_created: OnCreated
    ) -> None:
        """Put a new record with its first event into the next transaction.

        It is not repeated when the store fails: ``on_created`` hears of it, and nothing is left.
        """
        if self._closed:
            on_created(StoreUnavailable(_TOO_LATE))
            return
        batch = self._open_batch()
        batch.events.append(event)
        batch.changes.append(change)
        batch.created[record.id] = (record, key, on_created)
        self.urge()

    async def committed(self) -> None:
        """Wait until all that was submitted before is stored.

        Raises:
            StoreUnavailable: the committer was closed before that.
        """
        if self._too_late is not None:
            raise self._too_late
        if self._closed:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._open_batch().waiters.append(waiter)
        self.urge()
        await waiter

    def when_committed(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once all that was submitted before is stored, or the committer is closed."""
        if self._closed:
            asyncio.get_running_loop().call_soon(callback)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(waiter: asyncio.Future[None]) -> None:
            waiter.exception()  # seen; to be closed is as good as to be stored here
            callback()

        waiter.add_done_callback(done)
        self._open_batch().waiters.append(waiter)
        self.urge()

    def urge(self) -> None:
        """Somebody waits for the next commit."""
        self._alarm.ring()
        self._urgent.ring()

    def tables(self) -> Tables:
        """What is held here."""
        return {"batches": len(self._batches), "batch in flight": int(self._writing is not None)}

    def on_availability(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever `available` changes."""
        self._listeners.append(listener)

    @contextmanager
    def together(self, events: int) -> Iterator[None]:
        """Put all that is submitted meanwhile into one transaction; nobody may wait inside.

        Args:
            events: how many there are, at most.
        """
        batch = self._open_batch()
        if batch.events and len(batch.events) + events > self._events_max:
            self._batches.append(Batch())
        self._held_open = True
        try:
            yield
        finally:
            self._held_open = False

    def _open_batch(self) -> Batch:
        full = not self._batches or len(self._batches[-1].events) >= self._events_max
        if full and not (self._held_open and self._batches):
            self._batches.append(Batch())
        return self._batches[-1]

    # -- writing ---------------------------------------------------------------------------------------------------

    def open(self, group: asyncio.TaskGroup | asyncio.AbstractEventLoop) -> None:
        """Begin to write.

        Args:
            group: where the task belongs that writes. That it raises is a mistake of ours, after which nothing is
                stored: a task group then ends all others with it.
        """
        self._writer = group.create_task(self._write(), name="streaming-committer")
        self._writer.add_done_callback(self._has_ended)

    def _has_ended(self, writer: asyncio.Task[None]) -> None:
        if not writer.cancelled() and writer.exception() is not None:
            self._on_broken()

    async def close(self, until: float) -> int:
        """Write what is left, until ``until`` on the loop's clock at the latest.

        Returns:
            How many events could not be stored; a log line has said so.
        """
        self._closing = True
        self.urge()
        if self._writer is not None:
            try:
                async with asyncio.timeout_at(until) as self._limit:
                    await asyncio.wait({self._writer})
            except TimeoutError:
                pass  # what is left is counted below
            finally:
                self._limit = None
            self._writer.cancel()
            await asyncio.wait({self._writer})
        self._closed = True
        left = [*([] if self._writing is None else [self._writing]), *self._batches]
        self._batches.clear()
        self._writing = None
        if any(batch.events or batch.updated for batch in left):
            self._too_late = StoreUnavailable(_TOO_LATE)
        for batch in left:
            batch.settle(self._too_late)
        return sum(len(batch.events) for batch in left)

    def hurry(self, until: float) -> None:
        """Give up earlier, if `close` is waiting for the journal."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(until)

    async def _write(self) -> None:
        while not self._closing or self._batches:
            if not self._batches:
                await self._alarm.wait()
                continue
            await self._gather()
            self._writing = self._batches.popleft()
            await self._write_batch(self._writing)
            self._writing = None

    async def _gather(self) -> None:
        """Let more events come together while commits are frequent, unless somebody waits for this one.

        A commit costs as much as some dozen events: where only a few come in a pause, they are better seen at once.
        """
        loop = asyncio.get_running_loop()
        now, batch = loop.time(), self._batches[0]
        pause_s = self._pace.pause_s(now) if self._events.per_s(now) >= EVENTS_PER_S else 0
        if pause_s and len(self._batches) == 1 and not (batch.awaited or self._is_urgent()):
            await self._urgent.wait(now + pause_s)
            now = loop.time()
        self._pace.happens(now)
        self._events.happens(len(batch.events), now)

    async def _write_batch(self, batch: Batch) -> None:
        delays_s = _delays_s()
        while True:
            began = self._observed.now()
            done = await self._attempt(batch)
            if done is not None:
                break
            await asyncio.sleep(next(delays_s))
        seconds = self._observed.now() - began
        self._set_available(True)
        self._on_committed(batch.events, batch.records(), done)
        batch.settle_created(None)
        # Behind the pass: who waits for the end of a task hears of it before its place is given away.
        asyncio.get_running_loop().call_soon(batch.wake, None)
        self._observed.stored(batch, done, seconds)

    async def _attempt(self, batch: Batch) -> Committed | None:
        """Commit once; None means that nothing of it was stored, and its creations are withdrawn."""
        commit = batch.as_commit()
        try:
            return await self._journal.commit(commit)
        except Exception as error:
            _log.warning(
                "the store cannot be written", reason=str(error), events=len(batch.events), exc_info=_bug(error)
            )
            problem = error if isinstance(error, StoreUnavailable) else StoreUnavailable("The store failed.")
        self._set_available(False)
        done = await self._find_out(commit)
        if done is None:
            batch.withdraw_created(problem)
        return done

    async def _find_out(self, commit: Commit) -> Committed | None:
        """Whether a commit that raised took place.

        Asks until the store knows: what is stored and withdrawn would be a task that nobody runs.
        """
        delays_s = _delays_s()
        while True:
            try:
                return await self._journal.outcome(commit)
            except Exception as error:
                _log.warning("the store cannot be read", reason=str(error), exc_info=_bug(error))
            await asyncio.sleep(next(delays_s))

    def _set_available(self, available: bool) -> None:
        if self.available is not available:
            self.available = available
            _log.info("the store is back" if available else "the store is away: tasks wait at their next event")
            for listener in self._listeners:
                listener()


def _delays_s() -> Iterator[float]:
    """How long to wait before the next try, each time: twice as long, up to a limit, for ever."""
    delay_s = RETRY_FIRST_S
    while True:
        yield delay_s
        delay_s = min(RETRY_MAX_S, delay_s * 2)


def _bug(error: Exception) -> Any:
    """The traceback of what no store should raise."""
    return None if isinstance(error, StoreUnavailable) else error
