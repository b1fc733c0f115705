"""What is written and not stored yet, and the handlers that wait until it is less.

Owns:   how much waits for its commit, of each log and of all; who waits for room.
Never:  writes or stores an event (``engine.hub``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from streaming.config import Settings
from streaming.engine.log import EVENT_BYTES, Log, size_of
from streaming.events import Event
from streaming.rules.evidence import Tally

#: What is written without an await may fill the backlog of a log so many times over.
UNAWAITED_BACKLOGS = 4


class Backlog:
    """The backlog of all logs of one process.

    Args:
        settings: how much of it there may be.

    Attributes:
        bytes: what all of it takes, about.
        away: the store cannot be written: nobody is to write more.
        closed: nobody is to wait any more.
    """

    def __init__(self, settings: Settings) -> None:
        self.bytes = 0
        self.away = False
        self.closed = False
        self._settings = settings
        self._waiters: dict[asyncio.Future[None], None] = {}

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiters)

    def add(self, log: Log, event: Event) -> None:
        """An event waits for its commit."""
        size = size_of(event)
        log.bytes += len(event.payload)
        log.backlog_events += 1
        log.backlog_bytes += size
        self.bytes += size

    def take(self, log: Log, event: Event) -> None:
        """An event is stored."""
        size = size_of(event)
        log.backlog_events -= 1
        log.backlog_bytes -= size
        self.bytes -= size

    def drop(self, log: Log) -> None:
        """Nothing that a log has written is going to be stored."""
        self.bytes -= log.backlog_bytes
        log.backlog_events = log.backlog_bytes = 0

    def close(self) -> None:
        """Nothing is going to be stored any more."""
        self.closed = True
        self.bytes = 0
        self.wake()

    def full(self, log: Log) -> bool:
        """Whether a handler has to wait before it writes more."""
        settings = self._settings
        return (
            not log.lost
            and not self.closed
            and (
                log.backlog_events >= settings.backlog_events_max
                or log.backlog_bytes >= settings.backlog_bytes_max
                or self.bytes >= settings.backlog_total_bytes_max
                or self.away
            )
        )

    def crowded(self, log: Log) -> bool:
        """Whether even a line that nobody waits for is too much."""
        settings = self._settings
        return (
            log.backlog_events >= UNAWAITED_BACKLOGS * settings.backlog_events_max
            or log.backlog_bytes >= UNAWAITED_BACKLOGS * settings.backlog_bytes_max
        )

    async def room(self, log: Log) -> None:
        """Wait until the handler of a log may write more."""
        while self.full(log):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            finally:
                self._waiters.pop(waiter, None)

    def wake(self) -> None:
        """Let those who wait look again."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- for whoever looks whether all is well ------------------------------------------------------------------------

    def tally(self, logs: Collection[Log]) -> Tally:
        """How many bytes wait for their commit, as it is counted and in truth."""
        return Tally("backlog bytes", self.bytes, sum(log.backlog_bytes for log in logs))

    def recount(self, logs: Collection[Log]) -> None:
        """Put right what waits for its commit, and let those go on who wait for room."""
        self.bytes = sum(log.backlog_bytes for log in logs)
        self.wake()


def bytes_of_one_max(settings: Settings) -> int:
    """What may wait of one log at most: what it takes to be crowded, and one write more.

    That is an event, or the report of a worker elsewhere, which comes in one body.
    """
    one_more = max(settings.event_bytes_max, settings.body_bytes_max) + settings.report_events_max * EVENT_BYTES
    return UNAWAITED_BACKLOGS * settings.backlog_bytes_max + one_more
