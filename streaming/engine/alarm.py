"""Waiting without losing a wake-up.

Owns:   `Alarm`: one waiter, many who ring.
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


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
