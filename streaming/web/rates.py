"""How often somebody may ask: sliding windows, by name.

A sliding window counter means what it means in ``limits``, whose notation the settings have. Its memory storage starts
a thread for each hundredth of a second in which somebody asks, follows the wall clock, and keeps whatever names it is
shown; so the windows are kept here.

Owns:   the counts, and what the headers say of them (draft-ietf-httpapi-ratelimit-headers-10).
Never:  knows who asks, or decides what follows.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

#: Names that are remembered at most. Whoever makes that many up within one window starts anew himself.
NAMES_MAX = 100_000


class Allowance(NamedTuple):
    """What became of one request.

    Attributes:
        granted: whether it is within the limit; if not, it does not count.
        limit: requests in one window.
        window_s: length of a window.
        remaining: so many more are possible now.
        wait_s: seconds after which one more is possible; 0 if it is now.
    """

    granted: bool
    limit: int
    window_s: int
    remaining: int
    wait_s: float

    def headers(self, name: str) -> dict[str, str]:
        """``RateLimit-Policy`` and ``RateLimit``.

        Args:
            name: of the policy.
        """
        return {
            "ratelimit-policy": f'"{name}";q={self.limit};w={self.window_s}',
            "ratelimit": f'"{name}";r={self.remaining};t={math.ceil(self.wait_s)}',
        }


class Rate:
    """One limit for many names.

    The count of the window before weighs as much as is left of it: https://limits.readthedocs.io/en/stable/strategies.html

    Args:
        limit: requests in one window.
        window_s: its length in seconds.
        clock: seconds; it never goes back.
        names_max: names that are remembered, the newest ones.
    """

    def __init__(self, limit: int, window_s: int, clock: Callable[[], float], names_max: int = NAMES_MAX) -> None:
        self._limit, self._window_s = limit, window_s
        self._clock = clock
        self._names_max = names_max
        self._counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()  # number of the window, before, in it

    def __len__(self) -> int:
        return len(self._counts)

    def ask(self, name: str) -> Allowance:
        """Count one request, if it is within the limit."""
        now = self._clock()
        number = int(now // self._window_s)
        left_s = (number + 1) * self._window_s - now
        previous, current = self._at(name, number)
        used = previous * left_s / self._window_s + current
        granted = used + 1 <= self._limit
        if granted:
            current += 1
            used += 1
            self._keep(name, (number, previous, current))
        remaining = max(0, self._limit - math.ceil(used))
        wait_s = 0.0 if remaining else self._wait_s(previous, current, left_s)
        return Allowance(granted, self._limit, self._window_s, remaining, wait_s)

    def _at(self, name: str, number: int) -> tuple[int, int]:
        """The counts of the window before, and of this one."""
        last, previous, current = self._counts.get(name, (number, 0, 0))
        if last == number:
            return previous, current
        return (current, 0) if last == number - 1 else (0, 0)

    def _keep(self, name: str, counts: tuple[int, int, int]) -> None:
        self._counts[name] = counts
        self._counts.move_to_end(name)
        if len(self._counts) > self._names_max:
            self._counts.popitem(last=False)

    def _wait_s(self, previous: int, current: int, left_s: float) -> float:
        """Seconds until the weighted count is low enough for one more."""
        room = self._limit - 1
        if current <= room:  # as this window goes on, the one before weighs less
            return max(0.0, left_s - (room - current) * self._window_s / previous) if previous else 0.0
        return left_s + self._window_s - room * self._window_s / current
