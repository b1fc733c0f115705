"""Whether the event loop is blocked, as somebody beside it can tell who looks again and again.

Rules of this file:

- The loop stamps a number a few times in the shortest stall that counts. Who looks and finds the same number again
  counts the time between the looks.
- Who was late himself, and in whose process hardly anything was done meanwhile, was stopped with the whole process, or
  got no processor: of that time only one period counts. Where the process was busy, somebody held the interpreter.
- A stall is told once, and again at twice the time each. More than so many reports a minute are only counted.

Owns:   `Watch`.
Never:  looks at a clock, a thread or a task.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

#: How often the loop stamps, and is looked at, in the shortest stall that counts.
BEATS = 4

#: No look follows another one sooner, however short a stall counts.
PERIOD_MIN_S = 0.01

#: Reports in one minute, at most.
REPORTS_MAX = 10
MINUTE_S = 60.0

#: A look that is late by more periods than this may mean that the process was stopped, ...
LATE_PERIODS = 2.0

#: ... unless it has worked for this part of the time.
BUSY_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Report:
    """That the loop is blocked.

    Attributes:
        seconds: for how long by now, about.
        first: of this stall.
        left_out: reports of others that were not made, since the last one that was.
    """

    seconds: float
    first: bool
    left_out: int


class Watch:
    """What was found at the looks so far.

    Args:
        stall_s: the shortest stall that counts.
    """

    def __init__(self, stall_s: float) -> None:
        self.period_s = max(PERIOD_MIN_S, stall_s / BEATS)
        self._stall_s = stall_s
        self._looked_at: float | None = None
        self._worked_s = 0.0
        self._beats = -1
        self._blocked_s = 0.0
        self._report_at_s = stall_s
        self._told = False
        self._reports: deque[float] = deque()
        self._left_out = 0

    def look(self, now: float, beats: int, worked_s: float) -> Report | None:
        """Look once more.

        Args:
            now: seconds on any clock.
            beats: the number that the loop has stamped last.
            worked_s: seconds that the processors have worked for this process.

        Returns:
            What is to be told; None for nothing.
        """
        passed_s = self._passed_s(now, worked_s)
        if beats != self._beats:
            self._beats, self._blocked_s, self._report_at_s, self._told = beats, 0.0, self._stall_s, False
            return None
        self._blocked_s += passed_s
        if self._blocked_s < self._report_at_s:
            return None
        while self._report_at_s <= self._blocked_s:
            self._report_at_s *= 2
        return self._report(now)

    def _passed_s(self, now: float, worked_s: float) -> float:
        """How much of the time since the last look counts."""
        before, worked_before = now if self._looked_at is None else self._looked_at, self._worked_s
        self._looked_at, self._worked_s = now, worked_s
        passed_s = now - before
        if passed_s > LATE_PERIODS * self.period_s and worked_s - worked_before < BUSY_SHARE * passed_s:
            return self.period_s
        return passed_s

    def _report(self, now: float) -> Report | None:
        while self._reports and self._reports[0] <= now - MINUTE_S:
            self._reports.popleft()
        if len(self._reports) >= REPORTS_MAX:
            self._left_out += 1
            return None
        self._reports.append(now)
        found = Report(self._blocked_s, not self._told, self._left_out)
        self._told, self._left_out = True, 0
        return found
