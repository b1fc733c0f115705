"""The pass that tells all readers of what was committed since the last one.

A task for each reader, woken by each event, would cost more than the writing. So there is one callback of the event
loop for all of them: it comes in the step behind a commit, and while it is at work the next commit gathers more. With
little to tell it is immediate; under load each reader gets more at once.

Owns:   when readers are told, and how much of a log is kept for them.
Never:  moves a mark (``engine.hub``), or knows what a reader does with its news.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from streaming.config import Settings
from streaming.engine.deliveries import Deliveries
from streaming.engine.log import Log
from streaming.rules.log import Batch

if TYPE_CHECKING:
    from streaming.engine.subscription import Subscription

#: Committed events of a watched task that are kept at least, and how many passes like the last one are kept.
WINDOW_EVENTS_MIN = 32
PASSES_KEPT = 4

#: What is kept of a log that nobody watches, events and bytes: who starts a task and watches it then needs no store.
UNWATCHED_EVENTS = 4
UNWATCHED_BYTES = 4096

_NOTHING = Batch((), 0, b"")


class FanOut:
    """Whom the next pass tells.

    Args:
        settings: how much of a log is kept at most.
        deliveries: where it is counted what readers took.
    """

    def __init__(self, settings: Settings, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._events_max = settings.window_events_max
        self._bytes_max = settings.window_bytes_max
        self._marks: dict[Log, int] = {}  # where their readers were told of them last
        self._others: dict[Subscription, None] = {}
        self._due = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def moved(self, log: Log, mark: int) -> None:
        """Tell the readers of a log.

        Args:
            log: its mark has moved.
            mark: where it was before.
        """
        if log.readers:
            self._marks.setdefault(log, mark)
            self._come()
        else:
            self._trim(log, mark)

    def tell(self, readers: Iterable[Subscription]) -> None:
        """Tell these readers, whatever it is that they shall see."""
        self._others.update(dict.fromkeys(readers))
        if self._others:
            self._come()

    def _come(self) -> None:
        if not self._due:
            self._due = True
            if self._loop is None:  # to ask for it costs a system call in Python 3.11
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._pass)

    def _pass(self) -> None:
        self._due = False
        marks, self._marks = self._marks, {}
        others, self._others = self._others, {}
        for log, mark in marks.items():
            self._deliveries.add(*_tell(log, mark))
            self._trim(log, mark)
        for reader in others:
            reader.wake()

    def _trim(self, log: Log, mark: int) -> None:
        """Keep enough for a reader that is a few passes behind; one that is further behind reads the store."""
        if not log.readers:
            kept = min(self._events_max, UNWATCHED_EVENTS)
            log.window.trim(events_max=kept, bytes_max=min(self._bytes_max, UNWATCHED_BYTES))
            return
        fresh = log.window.committed - mark
        kept = min(self._events_max, max(WINDOW_EVENTS_MIN, PASSES_KEPT * fresh))
        log.window.trim(events_max=kept, bytes_max=self._bytes_max)


def _tell(log: Log, mark: int) -> tuple[int, int]:
    """Tell the readers of a log; who stands at the old mark, as nearly all do, gets what is new put into the hand.

    Returns:
        How many events were taken so, by all of them, and how many bytes; the others count what they take themselves.
    """
    window = log.window
    batch = window.after(mark)
    if not isinstance(batch, Batch):
        batch = _NOTHING
    last, all_of_it = batch.last, batch.last == window.committed and not window.ended
    takers = sent = 0
    for reader in list(log.readers):
        push = reader.push
        if push is not None and reader.cursor == mark and batch.events and (size := push(batch)):
            reader.cursor = last
            takers += 1
            sent += size
            if all_of_it:
                continue
        reader.wake()
    return takers * len(batch.events), sent
