"""Waiting without losing a wake-up.

Owns:   `Alarm`: one waiter, many who ring; `Latch`: set once, for all who wait.
Never:  knows what is waited for.
"""

from __future__ import annotations

import asyncio
import math


class Alarm:
    """One task waits, anybody on the loop rings. A ring before the wait is not lost; rings are not counted."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the waiter, or the next one."""
        self._rung = True
        _wake(self._waiter)

    async def wait(self, until: float = math.inf) -> None:
        """Wait until somebody has rung since the last wait.

        Args:
            until: loop time at which to return anyway.
        """
        if not self._rung:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_at(until, _wake, waiter) if until < math.inf else None
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._rung = False


class Latch:
    """Something that happens once, and that anybody may wait for; one for which nobody waits costs next to nothing."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    def set(self) -> None:
        """It has happened; to say so twice is allowed."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Wait until it has happened."""
        if self._is_set:
            return
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
