"""The route of beats: a stream of times, for whoever measures the way between a reader and this server.

A proxy that collects bytes, or compresses them, is not seen from the server, and a task that is silent looks the same.
So here is a stream whose events come at known times, from no task and no store.

Owns:   what may be asked for, when the next beat is due, and that all beats end when the server does.
Uses:   web.stream (sending them), web.events (a place for them).
Never:  touches a task or the store; keeps more than the beats of one answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streaming.errors import BadCursor
from streaming.rules.log import Batch, Reading
from streaming.rules.sse import parse_last_event_id
from streaming.web.events import accepted, place
from streaming.web.query import Query
from streaming.web.reply import SSE, Reply
from streaming.web.request import Request
from streaming.web.site import Site
from streaming.web.stream import FORMS, Stream, stream

COUNT_DEFAULT, COUNT_MAX = 5, 100

#: Seconds between two beats.
INTERVAL_DEFAULT_S, INTERVAL_MAX_S = 0.2, 10.0


async def follow_beats(site: Site, request: Request) -> Reply | Stream:
    """``GET /beats``: so many times, one after each interval."""
    accepted(request, (SSE,))
    query = Query(request.query_string, ("count", "interval_s"))
    count = query.whole("count", least=1, most=COUNT_MAX) or COUNT_DEFAULT
    asked_s = query.seconds("interval_s", most=INTERVAL_MAX_S)
    interval_s = INTERVAL_DEFAULT_S if query.text("interval_s") is None else asked_s
    cursor = _cursor(request, count)
    with place(site, request):
        beats = Beats(count, interval_s, cursor, site.coordinator.now, site.endings)
        return await stream(request, beats, FORMS[SSE], site.heartbeat, {})


def _cursor(request: Request, count: int) -> int:
    """The last beat that was seen: an EventSource comes back behind the last one, and is told that nothing follows."""
    text = request.header("last-event-id")
    cursor = 0 if text is None else parse_last_event_id(text)
    if cursor > count:
        raise BadCursor(f"There are {count} beats, and Last-Event-ID is {cursor}.")
    return cursor


class Beats:
    """A reader's beats: what is due, and not sent yet; see `web.stream.Source`.

    Args:
        count: the last one.
        interval_s: between two of them.
        cursor: begin behind this one, at once.
        now: the time, RFC 3339.
        endings: where `end` is, for as long as somebody reads them.
    """

    def __init__(
        self,
        count: int,
        interval_s: float,
        cursor: int,
        now: Callable[[], str],
        endings: set[Callable[[], object]],
    ) -> None:
        self.on_news: Callable[[], object] | None = None
        self.push: Callable[[Batch], int] | None = None
        self._count = count
        self._interval_s = interval_s
        self._made = cursor
        self._now = now
        self._endings = endings
        self._due: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        endings.add(self.end)
        if cursor < count:
            self._beat()

    @property
    def finished(self) -> bool:
        """Whether nothing will ever come."""
        return self._timer is None and not self._due

    def poll(self) -> Batch | Reading:
        """All that is due, in one batch."""
        if self._closed or self.finished:
            return Reading.END
        if not self._due:
            return Reading.WAIT
        due, self._due = self._due, []
        return Batch((), self._made, b"".join(due))

    def sent(self, events: int, size: int) -> None:
        """Nothing is counted: these are events of no task."""

    def end(self) -> None:
        """The server ends: what is due is sent, and nothing follows."""
        self._stop()
        self._loop.call_soon(self._wake)  # streams write in no task

    def close(self) -> None:
        """The reader has left, or has got all."""
        self._stop()
        self._closed = True
        self._endings.discard(self.end)

    def _beat(self) -> None:
        self._made += 1
        frame = f'id: {self._made}\nevent: beat\ndata: {{"n":{self._made},"time":"{self._now()}"}}\n\n'
        self._due.append(frame.encode())
        self._at += self._interval_s
        self._timer = self._loop.call_at(self._at, self._beat) if self._made < self._count else None
        self._wake()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self.on_news is not None:
            self.on_news()
