# Written by `python -m tests.sync_client` from streaming/client/feed.py: change that one.
"""Follow the feed: the events of all tasks, across any number of connections.

Rules of this file:

- Positions only grow; one that was had is dropped. With filters there are jumps, which are no gaps.
- Before the first event a reader of the newest events has no position. If its connection breaks then, the next one
  begins at what is newest there: what has happened between them may be missing.

Owns:   `FeedReader`.
Uses:   client.reading (the connections), client.answers (what was received).
Never:  ends by itself: the feed has no end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import httpx
from httpx_sse import ServerSentEvent

from streaming.client.answers import bad_answer, event_from
from streaming.client.feed_event import FeedEvent
from streaming.client.sync.patience import Patience
from streaming.client.sync.reading import StreamReader

_POSITION = re.compile(r"\d{1,18}", re.ASCII)


class FeedReader(StreamReader[FeedEvent]):
    """Reads the feed once.

    Args:
        http: the client's connections.
        query: the filters.
        after: position of the last event that is known already; None is for ``tail`` to say.
        tail: begin so many events before the head; None begins at the beginning.
        on_open: is called whenever a connection stands.
        patience: the client's.
    """

    def __init__(
        self,
        http: httpx.Client,
        query: Mapping[str, str],
        *,
        after: int | None,
        tail: int | None,
        on_open: Callable[[], None] | None,
        patience: Patience,
    ) -> None:
        super().__init__(http, "/events", patience)
        self._query = query
        self._cursor = after
        self._tail = tail
        self._on_open = on_open

    def _position(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        if self._cursor is not None:
            return {"Last-Event-ID": str(self._cursor)}, self._query
        tail = {} if self._tail is None else {"tail": str(self._tail)}
        return {}, {**self._query, **tail}

    def _opened(self) -> None:
        if self._on_open is not None:
            self._on_open()

    def _item(self, block: ServerSentEvent) -> FeedEvent | None:
        event = event_from(block.data)
        if not _POSITION.fullmatch(block.id):
            raise bad_answer(f"An event of the feed must have its position, not {block.id[:64]!r}.")
        position = int(block.id)
        if self._cursor is not None and position <= self._cursor:
            return None
        self._cursor = position
        return FeedEvent(position, event)
