"""The window of the feed: the newest events of all tasks, in commit order.

Owns:   the feed item, what a reader of the feed may filter by, append and after(cursor).
Uses:   rules.access (who sees what).
Never:  waits, or reads a store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from streaming.errors import BadCursor
from streaming.events import Event
from streaming.rules.access import Principal
from streaming.rules.log import BATCH_BYTES_MAX, BATCHES_KEPT, Batch, Reading
from streaming.rules.sse import feed_frame


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One event in the feed, with what a reader of the feed may filter by.

    Attributes:
        position: where it stands.
        event: what has happened.
        task_type: of its task.
        tags: of its task.
        created_by: whose its task is; as it is here, nobody's.
        tenant: of that principal.
    """

    position: int
    event: Event
    task_type: str
    tags: tuple[str, ...] = ()
    created_by: str = ""
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """Which items a reader wants; what is empty does not restrict.

    Attributes:
        types: event types, any of these.
        task_types: task types, any of these.
        tag: the task has this tag.
        principal: the task is there for it.
    """

    types: frozenset[str] = frozenset()
    task_types: frozenset[str] = frozenset()
    tag: str | None = None
    principal: Principal | None = None

    def wants(self, item: FeedItem) -> bool:
        """Whether this item is for the reader."""
        return (
            (not self.types or item.event.type in self.types)
            and (not self.task_types or item.task_type in self.task_types)
            and (self.tag is None or self.tag in item.tags)
            and (self.principal is None or self.principal.sees(item.created_by, item.tenant))
        )


def feed_batch(items: Iterable[FeedItem], wanted: FeedFilter, cursor: int) -> Batch:
    """Take from ``items`` what one write may carry.

    Args:
        items: ascending, all behind ``cursor``.
        wanted: the reader's filter.
        cursor: where the reader stands.

    Returns:
        The wanted events; ``last`` is behind everything that was looked at, wanted or not.
    """
    events: list[Event] = []
    frames: list[bytes] = []
    positions: list[int] = []
    size = 0
    for item in items:
        if wanted.wants(item):
            framed = feed_frame(item.event, item.position)
            size += len(framed)
            if frames and size > BATCH_BYTES_MAX:
                break
            events.append(item.event)
            frames.append(framed)
            positions.append(item.position)
        cursor = item.position
    return Batch(tuple(events), cursor, b"".join(frames), tuple(positions))


class FeedWindow:
    """The newest items of the feed.

    Args:
        last: the last position that the store has given.
    """

    __slots__ = ("_batches", "_items", "last", "lowest")

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self.lowest = last
        self._items: deque[FeedItem] = deque()
        self._batches: dict[tuple[int, FeedFilter], Batch] = {}

    @property
    def kept(self) -> int:
        """How many items are in memory."""
        return len(self._items)

    def append(self, item: FeedItem, *, items_max: int) -> None:
        """Add the next committed item, and forget the oldest ones over ``items_max``."""
        self._items.append(item)
        self._batches.clear()
        self.last = item.position
        while len(self._items) > items_max:
            self.lowest = self._items.popleft().position

    def advance(self, position: int) -> None:
        """Note that the feed stands at ``position`` without keeping items: nobody follows it."""
        self._items.clear()
        self._batches.clear()
        self.last = self.lowest = position

    def after(self, cursor: int, wanted: FeedFilter) -> Batch | Reading:
        """What a reader at ``cursor`` finds: a batch (maybe of nothing it wants), WAIT, or BELOW (ask the store).

        Raises:
            BadCursor: the feed has not got so far.
        """
        if not 0 <= cursor <= self.last:
            raise BadCursor(f"{cursor} is no position of the feed: it stands at {self.last}.")
        if cursor == self.last:
            return Reading.WAIT
        if cursor < self.lowest:
            return Reading.BELOW
        place = (cursor, wanted)
        batch = self._batches.get(place)
        if batch is None:
            if len(self._batches) >= BATCHES_KEPT:
                self._batches.clear()
            # From the newest one back: most readers stand at the head.
            behind = list(takewhile(lambda item: item.position > cursor, reversed(self._items)))
            batch = self._batches[place] = feed_batch(reversed(behind), wanted, cursor)
        return batch
