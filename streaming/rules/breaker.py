"""A circuit breaker: a resource that fails is left alone for a while (Michael Nygard, "Release It!").

Rules of this file:

- Closed: every call goes through. ``failures_max`` failures in a row open it.
- Open: no call goes through for a pause.
- Half open, after the pause: one call goes through to try. If it succeeds the circuit is closed; if it fails it opens
  again, for twice the pause, up to ``pause_max_s``. A trial that nobody tells the end of is followed by another one
  after the same pause.
- What calls tell that had begun before it opened changes nothing while it is open.

All times are seconds on one clock.

Owns:   `Breaker`, `Circuit`.
Never:  makes the call, waits, or looks at a clock.
"""

from __future__ import annotations

from enum import StrEnum


class Circuit(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """The breaker of one resource.

    Attributes:
        circuit: whether calls go through.
        since: when that began; 0 for a new one.

    Args:
        failures_max: failures in a row that open it.
        pause_s: seconds until the first trial.
        pause_max_s: seconds until a trial, at most.

    Raises:
        ValueError: fewer than one failure, no pause, or a longest pause that is shorter than the first.
    """

    __slots__ = ("_failures", "_failures_max", "_pause_max_s", "_pause_s", "_shortest_s", "_try_at", "circuit", "since")

    def __init__(self, *, failures_max: int, pause_s: float, pause_max_s: float) -> None:
        if failures_max < 1 or not 0 < pause_s <= pause_max_s:
            raise ValueError("failures_max must be at least 1, and 0 < pause_s <= pause_max_s")
        self.circuit = Circuit.CLOSED
        self.since = 0.0
        self._failures_max = failures_max
        self._shortest_s = pause_s
        self._pause_max_s = pause_max_s
        self._pause_s = pause_s
        self._failures = 0
        self._try_at = 0.0

    def may_try(self, now: float) -> bool:
        """Whether a call may be made; who is told so makes it, and tells its end by `succeeded` or `failed`."""
        if self.circuit is Circuit.CLOSED:
            return True
        if now < self._try_at:
            return False
        self._become(Circuit.HALF_OPEN, now)
        self._try_at = now + self._pause_s
        return True

    def wait_s(self, now: float) -> float:
        """Seconds until a call may be made: 0 while it is closed."""
        return 0.0 if self.circuit is Circuit.CLOSED else max(0.0, self._try_at - now)

    def succeeded(self, now: float) -> None:
        """Note that a call has succeeded."""
        if self.circuit is not Circuit.OPEN:
            self._become(Circuit.CLOSED, now)
            self._failures = 0
            self._pause_s = self._shortest_s

    def failed(self, now: float) -> None:
        """Note that a call has failed, for a reason that lies with the resource."""
        if self.circuit is Circuit.HALF_OPEN:
            self._pause_s = min(2 * self._pause_s, self._pause_max_s)
            self._open(now)
        elif self.circuit is Circuit.CLOSED:
            self._failures += 1
            if self._failures >= self._failures_max:
                self._open(now)

    def _open(self, now: float) -> None:
        self._become(Circuit.OPEN, now)
        self._try_at = now + self._pause_s

    def _become(self, circuit: Circuit, now: float) -> None:
        if circuit is not self.circuit:
            self.circuit, self.since = circuit, now
