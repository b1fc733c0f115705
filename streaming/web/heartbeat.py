"""All open streams, and the one timer that they share.

A timer of its own for each stream, or a timeout around each write, would cost more than the writing. So a stream only
notes the time of its last write, from a clock that the timer moves, and the timer looks at all of them a few times in
each keepalive period: whoever was silent is nudged, whoever hangs in a write is dropped.

Owns:   which streams are open, how many may be, in all and for one principal, when one is silent or frozen.
Uses:   web.expiry (those whose credential ends).
Never:  writes to a stream.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from streaming.errors import TooManyOwnStreams, TooManyStreams
from streaming.rules.access import ANONYMOUS, Principal
from streaming.web.expiry import Expiring, Expiry
from streaming.web.parting import Parting

if TYPE_CHECKING:
    from streaming.observe.streams import StreamSpans

#: How often the timer looks, in each of the shorter of the two periods.
LOOKS = 8


class Beating(Protocol):
    """A stream, or the head of one, as the heartbeat sees it.

    Attributes:
        wrote_at: the heartbeat's ``now`` when the last write began.
        sending: whether that write is still going on.
    """

    wrote_at: float
    sending: bool

    def nudge(self) -> None:
        """Write a keepalive: you have been silent."""

    def drop(self) -> None:
        """Cut the connection."""


class Open(Beating, Expiring, Protocol):
    """A stream that is open."""


Looked = TypeVar("Looked", Beating, Open)


class Heartbeat:
    """The open streams of one server.

    Args:
        streams_max: streams at most.
        principal_max: streams of one principal at most; it does not hold for the anonymous one.
        keepalive_s: no stream is silent for longer.
        send_timeout_s: seconds for which a write may hang, while the loop goes on.
        expiry: ends the streams whose credential is over.
        parting: what a stream says that ends although what it reads goes on.
        on_last: called when the last stream has ended.

    Attributes:
        parting: as given.
        now: loop time at the last look; a stream may read it for nothing.
        spans: records the streams; None if nobody does.
    """

    def __init__(
        self,
        *,
        streams_max: int,
        principal_max: int,
        keepalive_s: float,
        send_timeout_s: float,
        expiry: Expiry,
        parting: Parting | None = None,
        on_last: Callable[[], object] = lambda: None,
    ) -> None:
        self.now = 0.0
        self.spans: StreamSpans | None = None
        self.parting = parting or Parting(0.0, lambda: 0.0)
        self._on_last = on_last
        self._streams_max = streams_max
        self._principal_max = principal_max
        self._expiry = expiry
        self._period_s = min(keepalive_s, send_timeout_s) / LOOKS
        # The next look is one period away, and may be as late as another one.
        self._silent_s = keepalive_s - 2 * self._period_s
        # A write may be up to one period younger than noted.
        self._frozen_s = send_timeout_s + self._period_s
        self._opening = 0
        self._heads: dict[Beating, None] = {}
        self._streams: dict[Open, None] = {}
        self._of: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> int:
        """How many streams are open, or about to be."""
        return self._opening + len(self._streams)

    @property
    def by_owner(self) -> Mapping[str, int]:
        """How many streams everybody has, or is about to; see `Principal.owner`."""
        return self._of

    def open_of(self, principal: Principal) -> int:
        """How many streams one principal has, or is about to."""
        return self._of[principal.owner]

    @contextmanager
    def place(self, principal: Principal = ANONYMOUS) -> Iterator[None]:
        """Hold a place for one stream, until it is added.

        Raises:
            TooManyStreams: all are taken.
            TooManyOwnStreams: all that this principal may have.
        """
        if self.open >= self._streams_max:
            raise TooManyStreams(f"{self._streams_max} streams are open, or requests wait; no more can be.")
        if not principal.anonymous and self.open_of(principal) >= self._principal_max:
            raise TooManyOwnStreams(
                f"{principal.name!r} has {self._principal_max} open streams or requests that wait; no more."
            )
        self._opening += 1
        self._count(principal, 1)
        try:
            yield
        finally:
            self._opening -= 1
            self._count(principal, -1)

    def add(self, stream: Open) -> None:
        """Look after a stream from now on."""
        self._watch(self._streams, stream)
        self._count(stream.credential.principal, 1)
        self._expiry.add(stream)

    def discard(self, stream: Open) -> None:
        """Forget a stream; the timer stops with the last one."""
        if stream in self._streams:
            self._count(stream.credential.principal, -1)
            self._expiry.discard(stream)
        self._forget(self._streams, stream)

    def _count(self, principal: Principal, number: int) -> None:
        self._of[principal.owner] += number
        if not self._of[principal.owner]:
            del self._of[principal.owner]

    @contextmanager
    def head(self, head: Beating) -> Iterator[None]:
        """Look after the head of a stream that has its place, but is none yet."""
        self._watch(self._heads, head)
        try:
            yield
        finally:
            self._forget(self._heads, head)

    def _watch(self, those: dict[Looked, None], one: Looked) -> None:
        if self._timer is None:
            self._look_later()
        those[one] = None

    def _forget(self, those: dict[Looked, None], one: Looked) -> None:
        those.pop(one, None)
        if not (self._streams or self._heads) and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._on_last()

    def abort_all(self) -> int:
        """Cut every open stream, for a server that must stop now, and say how many there were."""
        streams = len(self._streams)
        for stream in [*self._heads, *self._streams]:
            stream.drop()
        return streams

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        # In a context of its own: it is not to speak for the request that happened to be the first.
        self._timer = loop.call_later(self._period_s, self._look, context=contextvars.Context())

    def _look(self) -> None:
        before = self.now
        self._look_later()
        late_s = self.now - before - self._period_s
        for stream in [*self._heads, *self._streams]:
            if stream.sending:
                stream.wrote_at += late_s  # a loop that stood still could not be told that there is room again
                if self.now - stream.wrote_at >= self._frozen_s:
                    stream.drop()
            elif self.now - stream.wrote_at >= self._silent_s:
                stream.nudge()
