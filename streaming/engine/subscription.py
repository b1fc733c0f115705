"""One reader of a log or of the feed, driven by its cursor.

Replay and live are the same loop, so nothing can fall between them: look behind the cursor in the window; below the
window, ask the store; where nothing is new, wait.

Owns:   the cursor, the wait, the end.
Never:  holds events of its own: a slow reader costs its cursor and no more.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import structlog

from streaming.engine.alarm import Alarm
from streaming.errors import StoreUnavailable
from streaming.rules.feed import FeedFilter, feed_batch
from streaming.rules.log import Batch, Reading, batch_of, with_gap
from streaming.rules.sse import frame

if TYPE_CHECKING:
    from streaming.engine.hub import Hub
    from streaming.engine.log import Log

#: Stored events that are read at once: at first, and at most. In between twice as many as fitted into the last write,
#: for what does not fit is read again.
PAGE_FIRST = 64
PAGE_MAX = 512

#: Seconds until a reader asks a store again that could not be read.
RETRY_S = 1.0

_log = structlog.get_logger(__name__)


class Subscription(ABC):
    """A reader: call `next` until it returns None, and `close` in the end.

    Args:
        hub: whose events are read.
        cursor: where to begin: behind this event, 0 for the first.
    """

    __slots__ = ("_alarm", "_closed", "_hub", "_nudged", "_page", "_reading", "cursor")

    def __init__(self, hub: Hub, cursor: int) -> None:
        self.cursor = cursor
        self._hub = hub
        self._alarm = Alarm()
        self._closed = False
        self._nudged = False
        self._page = PAGE_FIRST
        self._reading: asyncio.Task[Batch] | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing will ever come; a feed does not end."""
        return False

    async def next(self) -> Batch | None:
        """Wait for events behind the cursor, and move it.

        Returns:
            A batch, empty if somebody nudged; None at the end: after the terminal event, after `close`, or when the
            server has drained.
        """
        while not self._closed:
            found = self._look()
            if found is Reading.BELOW:
                found = await self._stored()
            if isinstance(found, Batch):
                self.cursor = found.last
                if found.events:
                    return found
            elif found is Reading.END or (found is Reading.WAIT and self._hub.closed):
                self.close()
            elif self._nudged:
                self._nudged = False
                return Batch((), self.cursor, b"")
            elif found is Reading.WAIT:
                await self._alarm.wait()
        return None

    def wake(self) -> None:
        """Tell that there is something new."""
        self._alarm.ring()

    def nudge(self) -> None:
        """Make `next` return, if only with an empty batch."""
        self._nudged = True
        self._alarm.ring()

    def close(self) -> None:
        """Leave: `next` returns None from now on. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._hub.diary.tell("unsubscribe", self._whose(), self.cursor)
            self._leave()
            self._alarm.ring()
            if self._reading is not None:
                self._reading.cancel()

    async def _stored(self) -> Batch | Reading:
        """What the store has; still BELOW if somebody nudges meanwhile, or a while after it could not be read.

        END if it cannot be read, and the server has drained.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_store(), name="streaming-page")
            self._reading.add_done_callback(self._has_read)
        while not (self._reading.done() or self._nudged or self._closed):
            await self._alarm.wait()
        if self._closed or not self._reading.done():
            return Reading.BELOW
        reading, self._reading = self._reading, None
        try:
            batch = reading.result()
        except StoreUnavailable as problem:
            if self._hub.closed:
                return Reading.END
            _log.warning("a reader waits for the store", reason=problem.detail)
            if not self._nudged:
                await self._alarm.wait(asyncio.get_running_loop().time() + RETRY_S)
            return Reading.BELOW
        self._page = min(PAGE_MAX, max(PAGE_FIRST, 2 * len(batch.events)))
        return batch

    def _has_read(self, reading: asyncio.Task[Batch]) -> None:
        if not reading.cancelled():
            reading.exception()  # seen, also where nobody waits for it any more
        self._alarm.ring()

    @abstractmethod
    def _look(self) -> Batch | Reading:
        """What the window has behind the cursor."""

    @abstractmethod
    async def _read_store(self) -> Batch:
        """What the store has behind the cursor, below the window."""

    @abstractmethod
    def _leave(self) -> None:
        """Take the reader off the list of those that are woken."""

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

    def _look(self) -> Batch | Reading:
        found = self._task_log.window.after(self.cursor)
        return Reading.END if found is Reading.WAIT and self._task_log.lost else found

    async def _read_store(self) -> Batch:
        window = self._task_log.window
        upto = window.committed
        events = await self._hub.journal.events_after(window.task_id, self.cursor, last_seq=upto, limit=self._page)
        whole = with_gap(events, task_id=window.task_id, after=self.cursor, upto=upto, time=self._hub.now())
        return batch_of((event, frame(event)) for event in whole)

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

    async def _read_store(self) -> Batch:
        upto = self._hub.feed.last
        items = await self._hub.journal.feed_after(self.cursor, last_position=upto, limit=self._page)
        # Where nothing is left between the cursor and the window, the rest has been deleted.
        return feed_batch(items, self._wanted, self.cursor) if items else Batch((), upto, b"")

    def _leave(self) -> None:
        self._hub.feed_readers.pop(self, None)
