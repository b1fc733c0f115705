"""The logs of all live tasks, the feed, and who reads them.

Owns:   which log is open, the numbering of events, what is visible, waking readers, room for more.
Uses:   rules.log and rules.feed (what a reader finds), engine.committer (what is stored).
Never:  decides what happens to a task (``engine.coordinator``), or shows what is not committed.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import structlog

from streaming.config import Settings
from streaming.engine.committer import Committer, OnCreated
from streaming.engine.journal import Committed, Journal
from streaming.engine.subscription import FeedSubscription, LogSubscription, Subscription
from streaming.errors import StoreUnavailable, TaskEnded
from streaming.events import Event, encode_payload, rfc3339
from streaming.records import Change, IdempotencyKey, Record
from streaming.rules.feed import FeedFilter, FeedItem, FeedWindow
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.log import LogWindow

if TYPE_CHECKING:
    from streaming.engine.audience import Audience

#: Committed events of a watched task that are kept at least, and how many commits like the last one are kept.
WINDOW_EVENTS_MIN = 32
COMMITS_KEPT = 4

_log = structlog.get_logger(__name__)


class Log:
    """The log of one task, while anybody uses it.

    Attributes:
        window: its newest events.
        record: the task as it is to be, maybe not committed yet.
        visible: the task as it was committed last.
        lost: somebody else has ended, removed or continued the task in the store; nothing more can be written here.
        dropped: nothing more is to be written.
        heartbeat_at: when its handler, or its worker elsewhere, was heard of last.
        bytes: of all its events.
        audience: told when a reader comes or leaves.
    """

    __slots__ = (
        "audience",
        "backlog_bytes",
        "backlog_events",
        "bytes",
        "dropped",
        "heartbeat_at",
        "lost",
        "on_lost",
        "readers",
        "record",
        "visible",
        "window",
    )

    def __init__(self, record: Record, window: LogWindow) -> None:
        self.record = record
        self.visible = record
        self.window = window
        self.readers: dict[Subscription, None] = {}  # a set in the order of coming, and smaller while it is empty
        self.lost = False
        self.dropped = False
        self.heartbeat_at = record.heartbeat_at
        self.bytes = record.log_bytes
        self.audience: Audience | None = None
        self.on_lost: Callable[[], None] | None = None
        self.backlog_events = 0
        self.backlog_bytes = 0

    def heard(self, **changes: Any) -> Record:
        """The record with some changes, and with what the log knows of itself."""
        return dataclasses.replace(self.record, heartbeat_at=self.heartbeat_at, log_bytes=self.bytes, **changes)

    def snapshot(self) -> Record:
        """The committed record, as fresh as the last committed event."""
        return dataclasses.replace(
            self.visible, last_seq=self.window.committed, heartbeat_at=self.heartbeat_at, log_bytes=self.bytes
        )


class Hub:
    """All logs of one process.

    Args:
        journal: the store.
        settings: limits of backlog and window.
        wall: seconds since 1970, for the time of events.
    """

    def __init__(self, journal: Journal, settings: Settings, wall: Callable[[], float]) -> None:
        self.journal = journal
        self.closed = False
        self.feed = FeedWindow()
        self.feed_readers: dict[Subscription, None] = {}
        self._settings = settings
        self._wall = wall
        self._logs: dict[str, Log] = {}
        self._backlog_bytes = 0
        self._room: list[asyncio.Future[None]] = []
        self._committer = Committer(journal, self._on_committed, events_max=settings.commit_events_max)
        self._committer.on_availability(self._wake_room)

    # -- life --------------------------------------------------------------------------------------------------------

    async def open(self, group: asyncio.TaskGroup | asyncio.AbstractEventLoop) -> None:
        """Begin to write, where the store left off.

        Args:
            group: where the task belongs that writes; see `Committer.open`.
        """
        self.feed = FeedWindow(await self.journal.last_position())
        self._committer.open(group)

    async def close(self, until: float) -> int:
        """Store what is left, and end every subscription.

        Args:
            until: loop time to give up at.

        Returns:
            How many events could not be stored.
        """
        lost = await self._committer.close(until)
        self.closed = True
        self._wake_room()
        for reader in [*self.feed_readers, *(reader for log in self._logs.values() for reader in log.readers)]:
            reader.wake()
        self._logs.clear()
        self._backlog_bytes = 0
        return lost

    def hurry(self, until: float) -> None:
        """Give up earlier, if `close` is waiting for the store."""
        self._committer.hurry(until)

    @property
    def available(self) -> bool:
        """Whether the last commit was stored."""
        return self._committer.available

    def on_availability(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever `available` changes."""
        self._committer.on_availability(listener)

    def now(self) -> str:
        """The time, RFC 3339."""
        return rfc3339(self._wall())

    # -- writing -----------------------------------------------------------------------------------------------------

    def create(self, record: Record, data: object, key: IdempotencyKey | None, on_created: OnCreated) -> Log:
        """Open the log of a new task with the event of its first status.

        The log is live once ``on_created(None)`` was called; if the store refuses, nothing is left of it.
        """
        log = Log(record, LogWindow(record.id))
        event = Event(record.id, 1, record.status.value, record.created_at, encode_payload(data))
        log.record = log.visible = dataclasses.replace(record, last_seq=1, log_bytes=len(event.payload))
        log.window.append(event)
        self._count(log, event)
        self._logs[record.id] = log

        def created(problem: StoreUnavailable | None) -> None:
            if problem is not None:
                self._discard(log)
            on_created(problem)

        change = Change(record.id, 1, record.status, record.created_at, record.created_by)
        self._committer.create(event, log.record, change, key, created)
        return log

    def resume(self, record: Record) -> Log:
        """Open the log of a stored task that is to go on."""
        log = self._logs[record.id] = Log(record, LogWindow(record.id, last_seq=record.last_seq))
        return log

    def drop(self, log: Log) -> None:
        """Forget a log once all that was written is stored; its readers keep what they hold.

        To write more is refused from now on.
        """
        log.dropped = True
        if not log.backlog_events:
            self._logs.pop(log.record.id, None)

    def _discard(self, log: Log) -> None:
        """Forget a log now: what was written is never going to be stored."""
        log.dropped = True
        self._logs.pop(log.record.id, None)
        self._backlog_bytes -= log.backlog_bytes
        log.backlog_events = log.backlog_bytes = 0

    def remember(self, key: IdempotencyKey) -> None:
        """Let an idempotency key stand for a live task that it has not started."""
        self._committer.submit_key(key)

    def append(self, log: Log, type: str, payload: str) -> Event:
        """Write an event that leaves the record as it is; raises as `append_with`."""
        _check_open(log)
        window = log.window
        event = Event(window.task_id, window.last + 1, type, rfc3339(self._wall()), payload)
        window.append(event)
        self._count(log, event)
        self._committer.submit(event)
        return event

    def append_with(
        self, log: Log, type: str, data: object, time: str, *, why: tuple[str, str] | None = None, **changes: Any
    ) -> Event:
        """Write an event together with what it changes in the record.

        Args:
            log: where.
            type: of the event.
            data: of the event.
            time: of the event, RFC 3339.
            why: who changes the status, and the reason, for the history; None if it stays.
            changes: fields of the record.

        Raises:
            TaskEnded: the log has its terminal event, or was dropped.
        """
        _check_open(log)
        event = Event(log.window.task_id, log.window.last + 1, type, time, encode_payload(data))
        log.window.append(event, terminal=changes.get("status") in TERMINAL)
        self._count(log, event)
        log.record = record = log.heard(last_seq=event.seq, updated_at=time, **changes)
        self._committer.submit(event, record)
        if why is not None:
            self._committer.submit_change(Change(record.id, event.seq, record.status, time, *why))
        return event

    def together(self, events: int) -> AbstractContextManager[None]:
        """Put all that is written meanwhile, so many events at most, into one transaction; nobody may wait inside."""
        return self._committer.together(events)

    def amend(self, log: Log, **changes: Any) -> None:
        """Change the record without an event; readers of the record see it with the next commit."""
        log.record = log.heard(**changes)
        self._committer.submit(None, log.record)

    async def committed(self, within_s: float | None = None) -> None:
        """Wait until all that was written before is stored.

        Args:
            within_s: seconds to wait at most; None waits for ever.

        Raises:
            StoreUnavailable: the hub was closed before, or the store has not answered in that time.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._committer.committed()
        except TimeoutError:
            raise StoreUnavailable("The store does not answer; what was asked for is done as soon as it can.") from None

    def when_committed(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once all that was written before is stored, or the hub is closed."""
        self._committer.when_committed(callback)

    def full(self, log: Log) -> bool:
        """Whether a handler has to wait before it writes more."""
        settings = self._settings
        return (
            not log.lost
            and not self.closed
            and (
                log.backlog_events >= settings.backlog_events_max
                or log.backlog_bytes >= settings.backlog_bytes_max
                or self._backlog_bytes >= settings.backlog_total_bytes_max
                or not self._committer.available
            )
        )

    async def room(self, log: Log) -> None:
        """Wait until the handler of a log may write more."""
        while self.full(log):
            waiter = asyncio.get_running_loop().create_future()
            self._room.append(waiter)
            await waiter

    def _count(self, log: Log, event: Event) -> None:
        size = _size(event)
        log.bytes += len(event.payload)
        log.backlog_events += 1
        log.backlog_bytes += size
        self._backlog_bytes += size

    def _wake_room(self) -> None:
        waiters, self._room = self._room, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- what became visible ------------------------------------------------------------------------------------------

    def _on_committed(self, events: Sequence[Event], records: Sequence[Record], done: Committed) -> None:
        if done.lost:
            events = [event for event in events if event.task_id not in done.lost]
            records = [record for record in records if record.id not in done.lost]
        for record in records:
            if (log := self._logs.get(record.id)) is not None:
                log.visible = record
        if self.feed_readers:
            self._append_to_feed(events, done.positions)
        elif events:
            self.feed.advance(done.positions[-1])
        for log, seq in self._release(events).items():
            self._show(log, seq)
        for task_id in done.lost:
            self._lose(task_id)
        self._wake_room()

    def _release(self, events: Sequence[Event]) -> dict[Log, int]:
        """Take committed events off the backlog; the newest seq of each log."""
        newest: dict[Log, int] = {}
        for event in events:
            log = self._logs[event.task_id]
            size = _size(event)
            log.backlog_events -= 1
            log.backlog_bytes -= size
            self._backlog_bytes -= size
            newest[log] = event.seq
            if log.dropped:
                self.drop(log)
        return newest

    def _append_to_feed(self, events: Sequence[Event], positions: Sequence[int]) -> None:
        for event, position in zip(events, positions, strict=True):
            record = self._logs[event.task_id].record
            item = FeedItem(position, event, record.type, record.tags)
            self.feed.append(item, items_max=self._settings.window_events_max)
        for reader in self.feed_readers:
            reader.wake()

    def _show(self, log: Log, seq: int) -> None:
        """Move the committed mark, keep what readers need, and wake them."""
        settings = self._settings
        fresh = seq - log.window.committed
        log.window.commit(seq)
        if log.readers:
            # Enough for a reader that is a few commits behind; one that is further behind reads the store.
            kept = min(settings.window_events_max, max(WINDOW_EVENTS_MIN, COMMITS_KEPT * fresh))
            log.window.trim(events_max=kept, bytes_max=settings.window_bytes_max)
            for reader in log.readers:
                reader.wake()
        else:
            log.window.trim(events_max=0, bytes_max=0)

    def _lose(self, task_id: str) -> None:
        if (log := self._logs.get(task_id)) is None:
            return
        _log.error("somebody else has changed this task in the store: it is ours no longer", task_id=task_id)
        log.lost = True
        self._discard(log)
        for reader in log.readers:
            reader.wake()
        if log.on_lost is not None:
            log.on_lost()

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, log: Log, cursor: int) -> Subscription:
        """A reader of one log, behind ``cursor``.

        Raises:
            BadCursor: no such event is visible.
        """
        return LogSubscription(self, log, cursor)

    def follow(self, cursor: int, wanted: FeedFilter) -> Subscription:
        """A reader of the feed, behind ``cursor``.

        Raises:
            BadCursor: the feed has not got so far.
        """
        return FeedSubscription(self, cursor, wanted)


def _check_open(log: Log) -> None:
    """Refuse what would be counted, and never stored."""
    if log.dropped:
        raise TaskEnded(f"Task {log.record.id} takes no more events.")


def _size(event: Event) -> int:
    """What an event that waits for its commit takes, about, in bytes."""
    return len(event.payload) + 256
