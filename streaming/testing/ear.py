"""Hears what a handler tells, and when it does so too late.

Owns:   `Ear`: a teller that passes everything on.
Uses:   engine.context (what a teller is), testing.place (from where something is told).
Never:  changes what is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streaming.engine.context import Level, Teller
from streaming.errors import TaskEnded
from streaming.testing.place import Place, place_of_caller


class Ear:
    """Stands between a handler and its teller.

    Args:
        teller: the real one.
        told: called with the place of each event that was told.
        late: called with the place of each event that nobody takes any more.
    """

    def __init__(self, teller: Teller, told: Callable[[Place], None], late: Callable[[Place], None]) -> None:
        self._teller = teller
        self._told = told
        self._late = late

    def tell(self, type: str, data: object) -> int:
        """See `Teller.tell`."""
        return self._pass_on(self._teller.tell, type, data)

    def tell_progress(self, percent: float, message: str | None) -> int:
        """See `Teller.tell_progress`."""
        return self._pass_on(self._teller.tell_progress, percent, message)

    def tell_steps(self, completed: int, total: int, current: str | None) -> int:
        """See `Teller.tell_steps`."""
        return self._pass_on(self._teller.tell_steps, completed, total, current)

    def tell_log(self, level: Level, message: str, fields: dict[str, Any]) -> int:
        """See `Teller.tell_log`."""
        return self._pass_on(self._teller.tell_log, level, message, fields)

    async def room(self) -> None:
        """See `Teller.room`."""
        await self._teller.room()

    def enter(self, reason: str, at_most_s: float) -> object:
        """See `Teller.enter`."""
        return self._teller.enter(reason, at_most_s)

    async def leave(self, section: object) -> None:
        """See `Teller.leave`."""
        await self._teller.leave(section)

    def _pass_on(self, tell: Callable[..., int], *said: Any) -> int:
        try:
            seq = tell(*said)
        except TaskEnded:
            self._late(place_of_caller(2))
            raise
        self._told(place_of_caller(2))
        return seq
