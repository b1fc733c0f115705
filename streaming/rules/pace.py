"""How soon something may happen again: at once while it is rare, and evenly spread once it is frequent.

Source: the generic cell rate algorithm, ITU-T I.371, as virtual scheduling.

Owns:   `Pace`.
Never:  looks at a clock, or waits.
"""

from __future__ import annotations


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
