"""Play events with the distances between them.

Rules of this file:

- The clock is that of the loop. Each event has its moment, counted from the first: small delays do not add up.
- While it is held no time passes.

Owns:   `Tempo`, which pause comes before an event, and `Player`, which keeps it.
Never:  reads events, or knows how they look.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from streaming.events import Event, seconds_of


@dataclass(frozen=True, slots=True)
class Tempo:
    """How quickly events are played.

    Attributes:
        speed: how many seconds of then pass in one; infinity takes no time at all.
        pause_max_s: no pause is longer.
    """

    speed: float = 1.0
    pause_max_s: float = math.inf

    def pause(self, before: Event, event: Event) -> tuple[float, float]:
        """The pause between two events, and how much of it is cut off, in seconds.

        A clock that was set back in between is no pause.
        """
        apart_s = max(0.0, seconds_of(event.time) - seconds_of(before.time)) / self.speed
        pause_s = min(apart_s, self.pause_max_s)
        return pause_s, apart_s - pause_s


class Player:
    """Gives events at their moments.

    Args:
        tempo: how quickly.
        on_cut: is called with the pause that stays, and what of it is left out, in seconds, before it begins.
    """

    def __init__(self, tempo: Tempo, on_cut: Callable[[float, float], None]) -> None:
        self._tempo = tempo
        self._on_cut = on_cut
        self._loop = asyncio.get_running_loop()
        self._held_at: float | None = None
        self._due_at = self._loop.time()
        self._changed: asyncio.Future[None] = self._loop.create_future()

    @property
    def held(self) -> bool:
        """Whether no time passes."""
        return self._held_at is not None

    def hold(self, wanted: bool) -> None:
        """Stop the time, or let it go on."""
        if wanted is self.held:
            return
        now = self._loop.time()
        if self._held_at is None:
            self._held_at = now
        else:
            self._due_at += now - self._held_at
            self._held_at = None
        self._changed.set_result(None)
        self._changed = self._loop.create_future()

    async def play(self, events: AsyncIterator[Event], show: Callable[[Event], None]) -> None:
        """Show each event when its moment has come; returns after the last one."""
        before: Event | None = None
        self._due_at = self._loop.time()
        async for event in events:
            if event.type == "gap":  # its time is that of the question
                show(event)
                continue
            if before is not None:
                pause_s, cut_s = self._tempo.pause(before, event)
                if cut_s:
                    self._on_cut(pause_s, cut_s)
                self._due_at += pause_s
            await self._moment()
            show(event)
            before = event

    async def _moment(self) -> None:
        while self.held or self._loop.time() < self._due_at:
            left_s = None if self.held else self._due_at - self._loop.time()
            await asyncio.wait([self._changed], timeout=left_s)
