"""The logs of all live tasks, the feed, and who reads them.

Owns:   which log is open, the numbering of events, what is visible.
Uses:   rules.log and rules.feed (what a reader finds), engine.log (what is known of one), engine.committer (what is
        stored), engine.backlog (room for more), engine.fanout (telling readers), engine.diary (what has happened).
Never:  decides what happens to a task (``engine.coordinator``), or shows what is not committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import structlog

from streaming.config import Settings
from streaming.engine.backlog import Backlog
from streaming.engine.batch import OnCreated
from streaming.engine.committer import Committer
from streaming.engine.diary import Diary
from streaming.engine.fanout import FanOut
from streaming.engine.journal import Committed, Journal
from streaming.engine.limits import LimitsHit
from streaming.engine.log import Log
from streaming.engine.observer import Observed
from streaming.engine.pages import Pages
from streaming.engine.subscription import FeedSubscription, LogSubscription, Subscription
from streaming.engine.tables import Tables
from streaming.engine.tracer import UNTRACED, Tracer
from streaming.errors import StoreUnavailable
from streaming.events import Event, encode_payload, rfc3339
from streaming.records import Change, IdempotencyKey, Record, changed
from streaming.rules.evidence import Tally
from streaming.rules.feed import FeedFilter, FeedItem, FeedWindow
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.log import LogWindow

_log = structlog.get_logger(__name__)


class Hub:
    """All logs of one process.

    Args:
        journal: the store.
        settings: limits of backlog and window.
        wall: seconds since 1970, for the time of events.
        tracer: see below.

    Attributes:
        journal: as given.
        closed: nothing more is written.
        feed: its newest events.
        feed_readers: who follows it.
        pages: what readers have asked the store for.
        diary: what has happened.
        limits_hit: how often each limit was hit, here and on the floors above.
        tracer: who records what becomes of tasks.
        observed: who is told of each commit, and what readers took.
    """

    def __init__(
        self, journal: Journal, settings: Settings, wall: Callable[[], float], tracer: Tracer = UNTRACED
    ) -> None:
        self.journal = journal
        self.tracer = tracer
        self.closed = False
        self.feed = FeedWindow()
        self.feed_readers: dict[Subscription, None] = {}
        self.diary = Diary(settings.diary_facts_max, wall)
        self._note = self.diary.note
        self.limits_hit = LimitsHit()
        self._settings = settings
        self._wall = wall
        self._logs: dict[str, Log] = {}
        self._backlog = Backlog(settings)
        self.observed = Observed()
        self._fan_out = FanOut(settings, self.observed.deliveries)
        self.pages = Pages(journal, self.now, self.observed.deliveries)
        self._committer = Committer(
            journal,
            self._on_committed,
            events_max=settings.commit_events_max,
            on_broken=lambda: self.diary.dump("the committer has failed"),
            urgent=lambda: self._backlog.waiting,
            observed=self.observed,
        )
        self._committer.on_availability(self._changed)

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
        self._backlog.close()
        self._fan_out.tell([*self.feed_readers, *(reader for log in self._logs.values() for reader in log.readers)])
        self._logs.clear()
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

    def wall(self) -> float:
        """The time, in seconds since 1970."""
        return self._wall()

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
        log.record = log.visible = changed(record, last_seq=1, log_bytes=len(event.payload))
        log.window.append(event)
        self._backlog.add(log, event)
        self._logs[record.id] = log
        self.diary.tell("start", record.id, 0, record.type, record.key or "", record.priority)

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
        self.tracer.resumed(record)
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
        self._backlog.drop(log)

    def remember(self, key: IdempotencyKey) -> None:
        """Let an idempotency key stand for a live task that it has not started."""
        self._committer.submit_key(key)

    def append(self, log: Log, type: str, payload: str) -> Event:
        """Write an event that leaves the record as it is; raises as `append_with`."""
        log.check_open()
        window = log.window
        event = Event(window.task_id, window.last + 1, type, rfc3339(self._wall()), payload)
        window.append(event)
        self._backlog.add(log, event)
        self._note((event.time, "event", event.task_id, event.seq, type))
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
        log.check_open()
        event = Event(log.window.task_id, log.window.last + 1, type, time, encode_payload(data))
        log.window.append(event, terminal=changes.get("status") in TERMINAL)
        self._backlog.add(log, event)
        self._note((time, "event", event.task_id, event.seq, type))
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
        if within_s is None:
            await self._committer.committed()
            return
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
        return self._backlog.full(log)

    def crowded(self, log: Log) -> bool:
        """Whether a log takes nothing more, not even what nobody waits for."""
        return self._backlog.crowded(log)

    async def room(self, log: Log) -> None:
        """Wait until the handler of a log may write more."""
        if self.full(log):
            self._committer.urge()
        await self._backlog.room(log)

    def _changed(self) -> None:
        """The store has gone away or come back."""
        self.diary.tell("store", "", 0, "back" if self.available else "away")
        self._backlog.away = not self.available
        self._backlog.wake()

    # -- what became visible ------------------------------------------------------------------------------------------

    def _on_committed(self, events: Sequence[Event], records: Sequence[Record], done: Committed) -> None:
        if done.lost:
            events = [event for event in events if event.task_id not in done.lost]
            records = [record for record in records if record.id not in done.lost]
        self.tracer.committed(events, records)
        for record in records:
            if (log := self._logs.get(record.id)) is not None:
                log.visible = record
        if self.feed_readers:
            self._append_to_feed(events, done.positions)
        elif events:
            self.feed.advance(done.positions[-1])
        if events:
            self.diary.stored(len(events), len(done.lost))
        for log, seq in self._release(events).items():
            self._show(log, seq)
        for task_id in done.lost:
            self._lose(task_id)
        self._backlog.wake()

    def _release(self, events: Sequence[Event]) -> dict[Log, int]:
        """Take committed events off the backlog; the newest seq of each log."""
        newest: dict[Log, int] = {}
        for event in events:
            log = self._logs[event.task_id]
            self._backlog.take(log, event)
            newest[log] = event.seq
            if log.dropped:
                self.drop(log)
        return newest

    def _append_to_feed(self, events: Sequence[Event], positions: Sequence[int]) -> None:
        for event, position in zip(events, positions, strict=True):
            record = self._logs[event.task_id].record
            item = FeedItem(position, event, record.type, record.tags, record.created_by, record.tenant)
            self.feed.append(item, items_max=self._settings.window_events_max)
        self._fan_out.tell(self.feed_readers)

    def _show(self, log: Log, seq: int) -> None:
        """Move the committed mark, and let readers be told."""
        mark = log.window.committed
        log.window.commit(seq)
        self._fan_out.moved(log, mark)

    def _lose(self, task_id: str) -> None:
        if (log := self._logs.get(task_id)) is None:
            return
        _log.error("somebody else has changed this task in the store: it is ours no longer", task_id=task_id)
        self.diary.tell("lost", task_id)
        self.diary.dump("somebody else has changed a task in the store", task_id)
        self.abandon(log)
        if log.on_lost is not None:
            log.on_lost()

    def abandon(self, log: Log) -> None:
        """Nothing more is written here of a task that may go on elsewhere: its readers end, to come back there."""
        log.lost = True
        self._discard(log)
        self._fan_out.tell(log.readers)

    # -- for whoever looks whether all is well ------------------------------------------------------------------------

    @property
    def logs(self) -> Mapping[str, Log]:
        """The open logs by task."""
        return self._logs

    @property
    def backlog_bytes(self) -> int:
        """What waits for its commit takes, about."""
        return self._backlog.bytes

    def tables(self) -> Tables:
        """What is held here."""
        return {
            "logs": self._logs.keys(),
            "feed readers": len(self.feed_readers),
            "handlers that wait for room": self._backlog.waiting,
            "backlog bytes": self._backlog.bytes,
            **self._committer.tables(),
        }

    def tallies(self) -> list[Tally]:
        """How many bytes wait for their commit, as it is counted and in truth."""
        return [self._backlog.tally(self._logs.values())]

    def recount(self, task_ids: Collection[str]) -> None:
        """Put right what waits for its commit: of these logs, and in all."""
        for task_id in task_ids:
            if (log := self._logs.get(task_id)) is not None:
                log.recount()
        self._backlog.recount(self._logs.values())

    def forget(self, task_id: str) -> bool:
        """Forget the log of a task that nobody knows, and say whether there was one; not while something waits."""
        if (log := self._logs.get(task_id)) is None or log.waiting:
            return False
        self.abandon(log)
        return True

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, log: Log, cursor: int) -> Subscription:
        """A reader of one log, behind ``cursor``.

        Raises:
            BadCursor: no such event is visible.
        """
        found = LogSubscription(self, log, cursor)
        self.diary.tell("subscribe", log.window.task_id, cursor)
        return found

    def follow(self, cursor: int, wanted: FeedFilter) -> Subscription:
        """A reader of the feed, behind ``cursor``.

        Raises:
            BadCursor: the feed has not got so far.
        """
        found = FeedSubscription(self, cursor, wanted)
        self.diary.tell("subscribe", "", cursor)
        return found
