"""The wall clock of a simulated world: it may be wrong, and it may be put right.

Owns:   `SimulatedClock`.
Never:  moves the time of the loop, which no clock on a wall can do.
"""

from __future__ import annotations

from collections.abc import Callable

from streaming.testing.choices import Stream

#: Wall-clock time at the loop's time 0: 2001-09-09T01:46:40Z.
EPOCH_S = 1_000_000_000.0

#: By how many seconds a clock is put right: a leap second, a bad quartz, a time zone, a dead battery.
STEPS_S = (1.0, -1.0, -0.3, 3600.0, -3600.0, 86_400.0, -86_400.0)


class SimulatedClock:
    """Seconds since 1970 as an instance sees them.

    Args:
        time: the time of the loop.
        choices: decides when somebody sets the clock.
        jumps: the probability of that, each time when somebody looks at it.
        skew_s: how much it differs from the right time at the beginning.
    """

    def __init__(self, time: Callable[[], float], choices: Stream, jumps: float = 0.0, skew_s: float = 0.0) -> None:
        self._time = time
        self._choices = choices
        self._jumps = jumps
        self._offset_s = EPOCH_S + skew_s

    def __call__(self) -> float:
        """The time."""
        if self._jumps and self._choices.happens(self._jumps):
            self.step(self._choices.draw(STEPS_S))
        return self._time() + self._offset_s

    def step(self, seconds: float) -> None:
        """Set it forward, or back."""
        self._offset_s += seconds
