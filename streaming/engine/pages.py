"""Pages of stored logs, each read once for all readers that stand at the same place.

A crowd that comes late reads the same log from the same place, and costs the store one reader: those who get a page
together ask for the next one together.

Owns:   which page is being read, and for how many.
Uses:   engine.journal.Journal.
Never:  keeps a page: what is deleted or removed meanwhile is not shown to who asks later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streaming.engine.deliveries import Deliveries
from streaming.engine.journal import Journal
from streaming.rules.log import Batch, LogWindow, batch_of, with_gap
from streaming.rules.sse import frame

#: Whose log, the cursor in front of the page, and the mark behind which nothing is read.
Place = tuple[str, int, int]

#: One that is being read.
Page = asyncio.Task[Batch]


class Pages:
    """The pages that readers want from the store.

    Args:
        journal: the store.
        now: the time, RFC 3339, for a notice of what is gone.
        deliveries: where gaps are counted.
    """

    def __init__(self, journal: Journal, now: Callable[[], str], deliveries: Deliveries) -> None:
        self._journal = journal
        self._deliveries = deliveries
        self._now = now
        self._readings: dict[Place, Page] = {}
        self._wanted: dict[Page, tuple[Place, int]] = {}

    def read(self, window: LogWindow, cursor: int, limit: int) -> Page:
        """Begin to read a page, or join those who wait for it already; `leave` it in any case.

        Args:
            window: of the log; nothing behind its mark is read.
            cursor: in front of the page.
            limit: events at most.

        Returns:
            A task. It raises StoreUnavailable.
        """
        place = (window.task_id, cursor, window.committed)
        reading = self._readings.get(place)
        if reading is None:
            reading = asyncio.create_task(self._read(place, limit), name="streaming-page")
            reading.add_done_callback(self._has_read)
            self._readings[place] = reading
            self._wanted[reading] = (place, 0)
        self._wanted[reading] = (place, self._wanted[reading][1] + 1)
        return reading

    def leave(self, reading: Page) -> None:
        """One reader less waits for a page; without any it is not read to its end."""
        if reading not in self._wanted:
            return
        place, readers = self._wanted[reading]
        self._wanted[reading] = (place, readers - 1)
        if readers == 1:
            del self._wanted[reading], self._readings[place]
            reading.cancel()

    async def _read(self, place: Place, limit: int) -> Batch:
        task_id, cursor, upto = place
        events = await self._journal.events_after(task_id, cursor, last_seq=upto, limit=limit)
        whole = with_gap(events, task_id=task_id, after=cursor, upto=upto, time=self._now())
        self._deliveries.look_for_gaps(whole)
        return batch_of((event, frame(event)) for event in whole)

    def _has_read(self, reading: Page) -> None:
        if (wanted := self._wanted.pop(reading, None)) is not None:  # else nobody wants it any more
            del self._readings[wanted[0]]
