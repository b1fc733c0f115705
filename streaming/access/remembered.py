"""What somebody else has, as it was read last: keys in the store, public keys of who signs tokens.

It is read again when it is older than ``fresh_s``, once for all who ask. While it cannot be read, it stays good as it
was for ``stale_s``. After that it is not known. As long as the last read has failed, nobody
waits for the next one, but for who shows something that is not known.

Owns:   `Remembered`: what was read, how old it may be, when it is read again.
Uses:   access.flight (one read for all).
Never:  takes what is too old for what is known.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from streaming.access.flight import Flight
from streaming.errors import StreamingError

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class Remembered(Generic[T]):
    """One value of somebody else's.

    Args:
        what: it is, for log lines.
        read: reads it; a `StreamingError` says why it cannot be read.
        fresh_s: how old it may be.
        stale_s: how old it may be while it cannot be read.
        wait_s: how long a read may take.
        pause_s: how long after a read that has failed, or that was out of turn, the next one may begin.
        ticks: seconds on a clock that only grows.
    """

    def __init__(
        self,
        what: str,
        read: Callable[[], Awaitable[T]],
        *,
        fresh_s: float,
        stale_s: float,
        wait_s: float,
        pause_s: float,
        ticks: Callable[[], float],
    ) -> None:
        self._what, self._source = what, read
        self._fresh_s, self._stale_s = fresh_s, max(fresh_s, stale_s)
        self._wait_s, self._pause_s = wait_s, pause_s
        self._ticks = ticks
        self._value: T | None = None
        self._read_at = self._tried_at = self._early_at = -math.inf
        self._away = False
        self._flight = Flight(self._read)

    @property
    def value(self) -> T | None:
        """As it was read last; None if that is too long ago."""
        return self._value if self._age() < self._stale_s else None

    @property
    def was_read(self) -> bool:
        """Whether it was read at any time."""
        return self._read_at > -math.inf

    async def renew(self) -> None:
        """Read it again if it is old."""
        if self._age() < self._fresh_s:
            return
        if not self._flight.under_way and self._ticks() - self._tried_at < self._pause_s:
            return
        if self._away:
            self._flight.start()
        else:
            await self._flight.join()

    async def look_again(self) -> None:
        """Read it out of turn, because something is not there that may be by now."""
        if self._flight.under_way:
            await self._flight.join()
        elif self._ticks() - self._early_at >= self._pause_s:
            self._early_at = self._ticks()
            await self._flight.join()

    async def refresh(self) -> None:
        """Read it now, in a read that begins after this call."""
        await self._flight.anew()

    async def close(self) -> None:
        """Read nothing any more."""
        await self._flight.close()

    def _age(self) -> float:
        return self._ticks() - self._read_at

    async def _read(self) -> None:
        self._tried_at = begun = self._ticks()
        try:
            async with asyncio.timeout(self._wait_s):
                self._value = await self._source()
        except Exception as problem:  # whatever it is: what is known stays good for its time, and nothing else is
            self._tell_away(problem)
            return
        self._read_at = begun
        if self._away:
            self._away = False
            _log.info("can be read again", what=self._what)

    def _tell_away(self, problem: Exception) -> None:
        if self._away:
            return
        self._away = True
        expected = isinstance(problem, StreamingError | TimeoutError)
        _log.warning(
            "cannot be read; as it was read last, it stays good for some time",
            what=self._what,
            good_for_s=self._stale_s,
            reason=str(problem) or type(problem).__name__,
            exc_info=None if expected else problem,
        )
