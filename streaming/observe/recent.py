"""What has happened just now: events a second, and how long commits took.

Owns:   the windows, and what falls out of them.
Never:  grows: what is older than the longest window is forgotten, and of commits the newest are kept.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

#: Windows for events, in seconds; those of one slot are counted together.
SHORT_S, LONG_S, SLOT_S = 1.0, 10.0, 0.1

#: Commits that are looked at: the newest, of the last minute.
COMMITS_MAX, COMMITS_S = 1_000, 60.0


class Recent:
    """What was committed lately.

    Args:
        clock: seconds; it never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: deque[list[int]] = deque()  # number of the slot, events
        self._commits: deque[tuple[float, float]] = deque(maxlen=COMMITS_MAX)  # when, seconds

    def add(self, events: int, seconds: float) -> None:
        """Note a commit."""
        now = self._clock()
        self._commits.append((now, seconds))
        slot = int(now / SLOT_S)
        if self._slots and self._slots[-1][0] == slot:
            self._slots[-1][1] += events
            return
        self._slots.append([slot, events])
        while self._slots[0][0] < slot - LONG_S / SLOT_S:
            self._slots.popleft()

    def events_per_s(self, window_s: float) -> float:
        """How many events a second were written, in the slots that are over."""
        now = int(self._clock() / SLOT_S)
        first = now - round(window_s / SLOT_S)
        return sum(events for slot, events in self._slots if first <= slot < now) / window_s

    def commit_s(self, percent: float) -> float | None:
        """Seconds that so many percent of the recent commits took at most; None if there was none."""
        since = self._clock() - COMMITS_S
        found = sorted(seconds for at, seconds in self._commits if at >= since)
        return found[max(0, math.ceil(len(found) * percent / 100) - 1)] if found else None
