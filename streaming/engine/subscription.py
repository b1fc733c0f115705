"""One reader of a log or of the feed, driven by its cursor.

Replay and live are the same loop, so nothing can fall between them: look behind the cursor in the window; below the
window, ask the store; where nothing is new, wait.

Who reads in a task of its own calls `Subscription.next`. Who has none, as the streams of a server, asks with
`Subscription.poll`, and again whenever it is called by `Subscription.on_news`.

Owns:   the cursor, the wait, the end.
Never:  holds events of its own: a slow reader costs its cursor and no more.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from streaming.engine.alarm import Alarm
from streaming.errors import StoreUnavailable
from streaming.rules.feed import FeedFilter, feed_batch
from streaming.rules.log import Batch, Reading

if TYPE_CHECKING:
    from streaming.engine.hub import Hub
    from streaming.engine.log import Log

#: Stored events that are read at once: at first, and at most. In between a few more than fitted into the last write:
#: what does not fit is read again.
PAGE_FIRST = 64
PAGE_MAX = 512

#: Positions of the feed that one question for the events of one principal looks at.
LOOKED_AT = 10_000

#: Seconds until a reader asks a store again that could not be read.
RETRY_S = 1.0

_log = structlog.get_logger(__name__)


class Subscription(ABC):
    """A reader: call `next` until it returns None, and `close` in the end.

    Args:
        hub: whose events are read.
        cursor: where to begin: behind this event, 0 for the first.

    Attributes:
        cursor: the last event that was seen.
        on_news: called by the loop, in no task, when `poll` may find something else than before. It must not raise.
        push: called likewise, and instead, with a batch that begins at the cursor; says how many bytes of it were sent.
            Then the cursor is behind it; or 0 if it was not taken.
    """

    __slots__ = ("_alarm", "_closed", "_hub", "_page", "_reading", "_rest", "cursor", "on_news", "push")

    def __init__(self, hub: Hub, cursor: int) -> None:
        self.cursor = cursor
        self.on_news: Callable[[], object] | None = None
        self.push: Callable[[Batch], int] | None = None
        self._hub = hub
        self._alarm: Alarm | None = None
        self._closed = False
        self._page = PAGE_FIRST
        self._reading: asyncio.Task[Batch] | None = None
        self._rest: asyncio.TimerHandle | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing will ever come; a feed does not end."""
        return False

    @property
    def lost(self) -> bool:
        """Whether what is read goes on, but not in this process; a feed never does."""
        return False

    async def next(self) -> Batch | None:
        """Wait for events behind the cursor, and move it.

        Returns:
            A batch; None at the end: after the terminal event, after `close`, or when the server has drained.
        """
        if self._alarm is None:
            self._alarm = Alarm()
            self.on_news = self._alarm.ring
        while (found := self.poll()) is Reading.WAIT:
            await self._alarm.wait()
        return found if isinstance(found, Batch) else None

    def poll(self) -> Batch | Reading:
        """Look behind the cursor without a wait, and move it.

        Returns:
            A batch; WAIT where nothing is there yet, and END after the last one.
        """
        while not self._closed:
            found = self._look()
            if found is Reading.BELOW:
                found = self._stored()
            if isinstance(found, Batch):
                self.cursor = found.last
                if found.events:
                    return found
            elif found is Reading.END or (found is Reading.WAIT and self._hub.closed):
                self._end()
            else:
                return Reading.WAIT
        return Reading.END

    def give_back(self, cursor: int, taken: int) -> None:
        """Put back what did not fit of the last batch: it is read again.

        Args:
            cursor: behind what was taken.
            taken: how many events that were.
        """
        self.cursor = cursor
        self._has_fitted(taken)

    def sent(self, events: int, size: int) -> None:
        """Count what `poll` has given and the reader has sent: so many events, in so many bytes."""
        self._hub.observed.deliveries.add(events, size)

    def wake(self) -> None:
        """Tell that there is something new."""
        if self.on_news is not None:
            self.on_news()

    def close(self) -> None:
        """Leave: `next` returns None from now on. Closing twice is allowed."""
        if not self._closed:
            self._end()
            self.wake()

    def _end(self) -> None:
        self._closed = True
        self._hub.diary.tell("unsubscribe", self._whose(), self.cursor)
        self._leave()
        self._stop_reading()

    def _stored(self) -> Batch | Reading:
        """What the store has behind the cursor.

        BELOW while it is asked, and for a while after it could not be read; END if that is so at the end of all.
        """
        if self._rest is not None and not self._hub.closed:
            return Reading.BELOW
        if self._reading is None:
            self._reading = self._read_store()
            self._reading.add_done_callback(self._has_read)
        if not self._reading.done():
            return Reading.BELOW
        reading, self._reading = self._reading, None
        try:
            batch = reading.result()
        except StoreUnavailable as problem:
            return self._unreadable(problem)
        self._has_fitted(len(batch.events))
        return batch

    def _unreadable(self, problem: StoreUnavailable) -> Reading:
        if self._hub.closed:
            return Reading.END
        _log.warning("a reader waits for the store", reason=problem.detail)
        self._rest = asyncio.get_running_loop().call_later(RETRY_S, self._rested)
        return Reading.BELOW

    def _rested(self) -> None:
        self._rest = None
        self.wake()

    def _has_fitted(self, events: int) -> None:
        """Ask for a page next time that just fills a write, as far as can be known."""
        more = events // 8 if events < self._page else events
        self._page = min(PAGE_MAX, max(PAGE_FIRST, events + more))

    def _has_read(self, reading: asyncio.Task[Batch]) -> None:
        if not reading.cancelled():
            reading.exception()  # seen, also where nobody waits for it any more
            self.wake()

    def _stop_reading(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._reading is not None:
            self._leave_reading(self._reading)
            self._reading = None

    @abstractmethod
    def _look(self) -> Batch | Reading:
        """What the window has behind the cursor."""

    @abstractmethod
    def _read_store(self) -> asyncio.Task[Batch]:
        """Begin to read what the store has behind the cursor, below the window."""

    @abstractmethod
    def _leave_reading(self, reading: asyncio.Task[Batch]) -> None:
        """What the store was asked for is not needed any more."""

    @abstractmethod
    def _leave(self) -> None:
        """Take the reader off the list of those that are told."""

    def _whose(self) -> str:
        """The task whose log is read; empty for the feed."""
        return ""


class LogSubscription(Subscription):
    """A reader of one task's log."""

    __slots__ = ("_task_log",)

    def __init__(self, hub: Hub, log: Log, cursor: int) -> None:
        super().__init__(hub, cursor)
        self._task_log = log
        self._look()  # refuses a cursor that is no position
        log.readers[self] = None
        self._tell_audience()

    @property
    def finished(self) -> bool:
        """Whether the reader has seen the terminal event; a log that goes on in another process is not over."""
        return self._task_log.window.after(self.cursor) is Reading.END

    @property
    def lost(self) -> bool:
        """Whether the log goes on in another process."""
        return self._task_log.lost and not self.finished

    def _look(self) -> Batch | Reading:
        found = self._task_log.window.after(self.cursor)
        return Reading.END if found is Reading.WAIT and self._task_log.lost else found

    def _read_store(self) -> asyncio.Task[Batch]:
        return self._hub.pages.read(self._task_log.window, self.cursor, self._page)

    def _leave_reading(self, reading: asyncio.Task[Batch]) -> None:
        self._hub.pages.leave(reading)

    def _whose(self) -> str:
        return self._task_log.window.task_id

    def _leave(self) -> None:
        self._task_log.readers.pop(self, None)
        self._tell_audience()

    def _tell_audience(self) -> None:
        if self._task_log.audience is not None:
            self._task_log.audience.changed()


class FeedSubscription(Subscription):
    """A reader of the feed."""

    __slots__ = ("_wanted",)

    def __init__(self, hub: Hub, cursor: int, wanted: FeedFilter) -> None:
        super().__init__(hub, cursor)
        self._wanted = wanted
        self._look()  # refuses a cursor that is no position
        hub.feed_readers[self] = None

    def _look(self) -> Batch | Reading:
        return self._hub.feed.after(self.cursor, self._wanted)

    def _read_store(self) -> asyncio.Task[Batch]:
        return asyncio.create_task(self._read_page(), name="streaming-page")

    async def _read_page(self) -> Batch:
        upto, principal = self._hub.feed.last, self._wanted.principal
        if principal is not None:  # most of it may be of others: one question does not look at all of it
            upto = min(upto, self.cursor + LOOKED_AT)
        items = await self._hub.journal.feed_after(
            self.cursor, last_position=upto, limit=self._page, principal=principal
        )
        self._hub.observed.deliveries.look_for_gaps(item.event for item in items)
        # Where nothing is left between the cursor and the window, the rest has been deleted, or is of others.
        return feed_batch(items, self._wanted, self.cursor) if items else Batch((), upto, b"")

    def _leave_reading(self, reading: asyncio.Task[Batch]) -> None:
        reading.cancel()

    def _leave(self) -> None:
        self._hub.feed_readers.pop(self, None)
