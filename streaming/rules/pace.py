"""How soon something may happen again: at once while it is rare, and evenly spread once it is frequent.

Source: the generic cell rate algorithm, ITU-T I.371, as virtual scheduling; the exponentially weighted moving average.

Owns:   `Pace`, `Rate`.
Never:  looks at a clock, or waits.
"""

from __future__ import annotations

import math


class Pace:
    """The pace of one thing.

    Args:
        per_s: how often in a second, in the long run.
        at_once: how often without a pause, after a time of rest.
    """

    __slots__ = ("_due", "_interval_s", "_slack_s")

    def __init__(self, *, per_s: float, at_once: int) -> None:
        self._interval_s = 1 / per_s
        self._slack_s = (at_once - 1) * self._interval_s
        self._due = float("-inf")

    def pause_s(self, now: float) -> float:
        """How long to wait; 0 if it may happen now.

        Args:
            now: seconds on a clock that is never set.
        """
        return max(0.0, self._due - self._slack_s - now)

    def happens(self, now: float) -> None:
        """It happens now, whether it should have waited or not: nobody has to wait longer than an interval for that."""
        self._due = min(max(self._due, now), now + self._slack_s) + self._interval_s


class Rate:
    """How often something has happened of late.

    Args:
        within_s: what is older than that counts for little.
    """

    __slots__ = ("_at", "_level", "_within_s")

    def __init__(self, *, within_s: float) -> None:
        self._within_s = within_s
        self._level = 0.0
        self._at = float("-inf")

    def per_s(self, now: float) -> float:
        """Times in a second, up to now.

        Args:
            now: seconds on a clock that is never set.
        """
        return self._decayed(now) / self._within_s

    def happens(self, times: int, now: float) -> None:
        """It happens so many times."""
        self._level, self._at = self._decayed(now) + times, now

    def _decayed(self, now: float) -> float:
        return self._level * math.exp((self._at - now) / self._within_s)
