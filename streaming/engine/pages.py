"""Pages of stored logs, each read once for all readers that stand at the same place.

A crowd that comes late reads the same log at about the same time. It costs the store one reader.

Owns:   which page is being read and for how many, and those that were read a moment ago.
Uses:   engine.journal.Journal.
Never:  keeps a page for longer than `KEPT_S`, or one whose event may still un-happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streaming.engine.journal import Journal
from streaming.rules.log import Batch, LogWindow, batch_of, with_gap
from streaming.rules.sse import frame

#: Pages that are kept at most, and for how many seconds at most: for those who come right behind the first one.
PAGES_KEPT = 16
KEPT_S = 1.0

#: Whose log, and the cursor in front of the page.
Place = tuple[str, int]

Reading = asyncio.Task[Batch]


class Pages:
    """The pages that readers want from the store.

    Args:
        journal: the store.
        now: the time, RFC 3339, for a notice of what is gone.
    """

    def __init__(self, journal: Journal, now: Callable[[], str]) -> None:
        self._journal = journal
        self._now = now
        self._readings: dict[Place, Reading] = {}
        self._wanted: dict[Reading, tuple[Place, int]] = {}
        self._kept: dict[Place, Batch] = {}
        self._timer: asyncio.TimerHandle | None = None

    def kept(self, task_id: str, cursor: int) -> Batch | None:
        """The page behind a cursor, if somebody has read it a moment ago."""
        return self._kept.get((task_id, cursor))

    def read(self, window: LogWindow, cursor: int, limit: int) -> Reading:
        """Begin to read a page, or join those who wait for it already; `leave` it in any case.

        Args:
            window: of the log; nothing behind its mark is read.
            cursor: in front of the page.
            limit: events at most.

        Returns:
            A task. It raises StoreUnavailable.
        """
        place = (window.task_id, cursor)
        reading = self._readings.get(place)
        if reading is None:
            reading = asyncio.create_task(self._read(window, cursor, limit), name="streaming-page")
            reading.add_done_callback(self._has_read)
            self._readings[place] = reading
            self._wanted[reading] = (place, 0)
        self._wanted[reading] = (place, self._wanted[reading][1] + 1)
        return reading

    def leave(self, reading: Reading) -> None:
        """One reader less waits for a page; without any it is not read to its end."""
        if reading not in self._wanted:
            return
        place, readers = self._wanted[reading]
        self._wanted[reading] = (place, readers - 1)
        if readers == 1:
            del self._wanted[reading], self._readings[place]
            reading.cancel()

    def forget(self) -> None:
        """Forget what is kept."""
        self._kept.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _read(self, window: LogWindow, cursor: int, limit: int) -> Batch:
        task_id, upto = window.task_id, window.committed
        events = await self._journal.events_after(task_id, cursor, last_seq=upto, limit=limit)
        whole = with_gap(events, task_id=task_id, after=cursor, upto=upto, time=self._now())
        return batch_of((event, frame(event)) for event in whole)

    def _has_read(self, reading: Reading) -> None:
        if (wanted := self._wanted.pop(reading, None)) is None:
            return  # nobody wants it any more
        place, _ = wanted
        del self._readings[place]
        if not reading.cancelled() and reading.exception() is None:
            self._keep(place, reading.result())

    def _keep(self, place: Place, batch: Batch) -> None:
        if len(self._kept) >= PAGES_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[place] = batch
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEPT_S, self.forget)
