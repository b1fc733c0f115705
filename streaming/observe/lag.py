"""How late the event loop is: a timer that measures when it is called.

A loop that is held up by one step, or has more to do than it can, calls everybody late: handlers, readers, requests.

Owns:   the timer, and what it has measured.
Never:  says who has held the loop up.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable

from streaming.observe.distribution import SHORT_S, Distribution

#: How often it looks, and how many of the last looks are recent: those of a minute.
PERIOD_S, RECENT = 0.1, 600


class LoopLag:
    """The lateness of one event loop.

    Args:
        clock: seconds; it never goes back. That of a loop may be too coarse, and stand still during a step.

    Attributes:
        all: of every look, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.all = Distribution(SHORT_S)
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._timer: asyncio.TimerHandle | None = None
        self._clock = clock
        self._due = 0.0

    def start(self) -> None:
        """Look from now on; in the loop that is to be looked at."""
        if self._timer is None:
            self._look_later(asyncio.get_running_loop())

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def max_s(self) -> float:
        """The longest of the last minute."""
        return max(self._recent, default=0.0)

    @property
    def mean_s(self) -> float:
        """The average of the last minute."""
        return sum(self._recent) / len(self._recent) if self._recent else 0.0

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = self._clock() + PERIOD_S
        # In a context of its own: it is not to speak for whoever has started it.
        self._timer = loop.call_later(PERIOD_S, self._look, loop, context=contextvars.Context())

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        late_s = max(0.0, self._clock() - self._due)
        self.all.add(late_s)
        self._recent.append(late_s)
        self._look_later(loop)
