"""Streams whose credential ends while they are open.

Owns:   which stream was opened with which credential; looking, once a second, whether one of these is over.
Uses:   a `Judge`, which knows credentials.
Never:  takes a stream that was opened by nobody in particular for one that anybody may read: the first key ends it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Protocol

from streaming.rules.access import Credential

#: Seconds between two looks.
LOOK_S = 1.0


class Judge(Protocol):
    """What knows credentials; see `access.gate.Gate`."""

    def still_good(self, credential: Credential, now: float) -> bool:
        """Whether a credential that was good still is."""

    async def refresh(self) -> None:
        """Learn what was revoked meanwhile."""


class Expiring(Protocol):
    """A stream, as far as its credential goes.

    Attributes:
        credential: what it was opened with.
    """

    credential: Credential

    def expire(self) -> None:
        """End the response, and say why, unless it is over; called by the loop, in no task."""


class Expiry:
    """The streams of one server by credential.

    Args:
        judge: knows which credentials are good.
        wall: seconds since 1970.
        refresh_s: seconds between two questions for what was revoked.
    """

    def __init__(self, judge: Judge, wall: Callable[[], float], refresh_s: float) -> None:
        self._judge = judge
        self._wall = wall
        self._refresh_s = refresh_s
        self._streams: dict[Credential, dict[Expiring, None]] = {}
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))

    def add(self, stream: Expiring) -> None:
        """Look after a stream from now on."""
        self._streams.setdefault(stream.credential, {})[stream] = None
        if self._looking is None:
            # In a context of its own: it is not to speak for the request that happened to be the first.
            looking = asyncio.get_running_loop().create_task(
                self._look(), name="streaming-expiry", context=contextvars.Context()
            )
            self._looking = looking

    def discard(self, stream: Expiring) -> None:
        """Forget a stream; nobody looks any more after the last one."""
        streams = self._streams.get(stream.credential, {})
        streams.pop(stream, None)
        if not streams:
            self._streams.pop(stream.credential, None)
        if not self._streams and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        refreshing, refreshed = loop.create_future(), loop.time()
        refreshing.set_result(None)
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                if refreshing.done() and loop.time() - refreshed >= self._refresh_s:
                    # Beside the look: what cannot be asked now holds up no end that is known.
                    refreshing, refreshed = asyncio.ensure_future(self._judge.refresh()), loop.time()
                self._end_those_that_are_over(loop)
        finally:
            refreshing.cancel()

    def _end_those_that_are_over(self, loop: asyncio.AbstractEventLoop) -> None:
        now = self._wall()
        for credential, streams in self._streams.items():
            if not self._judge.still_good(credential, now):
                for stream in streams:
                    loop.call_soon(stream.expire)  # streams write in no task
