"""A clock that jumps: an event loop on which an hour takes microseconds, and a hang is an error.

Owns:   `VirtualLoop`: when nothing is ready, time moves to the next timer; without a timer it raises `Deadlock`.
        A module runs on it with ``pytestmark = pytest.mark.clock("virtual")``.
Never:  changes the order in which asyncio runs callbacks, or waits for a thread: what uses threads needs a real loop.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

from streaming.engine.stack import where


class Deadlock(AssertionError):
    """Nothing is ready, and nothing ever will be."""


class _Jumping(selectors.SelectSelector):
    """Looks at files without waiting, and moves the clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Deadlock("\n".join(["every task waits for ever:", *map(_line, asyncio.all_tasks())]))
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time; it starts at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop began."""
        return self._jumping.now


def _line(task: asyncio.Task[Any]) -> str:
    return f"  {task.get_name()} at {where(task)}"
