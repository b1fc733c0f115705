"""What to do next about a running handler: wait, deliver the stop, insist, or accept that it goes on.

Rules of this file:

- The first cause wins: what a run is stopped for does not change once it is written down.
- A stop is delivered only after its cause was written down, and not into a protected section in its time.
- A handler that is still there ``cancel_grace_s`` after a delivery has either taken a cancel back (``uncancel``: it
  is left alone; a timeout or a shutdown cannot be taken back) or not obeyed: it is cancelled again, and again after
  twice the time.

All times are seconds on the loop's clock.

Owns:   `Stop`, `Section`, and `next_step`.
Never:  cancels anything itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from streaming.rules.lifecycle import Cause

INSIST_MAX_S = 60.0


@dataclass(slots=True)
class Stop:
    """One wish to stop a runner.

    Attributes:
        cause: why.
        written: whether it is written down, so that it may be delivered.
        delivered_at: when the handler was first cancelled; None before.
        deliveries: how often it was.
        insist_at: when it is to be cancelled again.
    """

    cause: Cause
    written: bool = True
    delivered_at: float | None = None
    deliveries: int = 0
    insist_at: float = math.inf

    def deliver(self, now: float, cancel_grace_s: float) -> None:
        """Note that the handler was cancelled just now."""
        if self.delivered_at is None:
            self.delivered_at = now
        self.deliveries += 1
        self.insist_at = now + min(cancel_grace_s * 2 ** (self.deliveries - 1), max(INSIST_MAX_S, cancel_grace_s))


@dataclass(slots=True, eq=False)
class Section:
    """A protected section: why, and until when it holds a stop back."""

    reason: str
    until: float
    overrun: bool = False


class Step(Enum):
    """What the runner does next."""

    WAIT = auto()
    WARN = auto()
    EXPIRE = auto()
    OVERRUN = auto()
    DELIVER = auto()
    DECLINED = auto()
    INSIST = auto()


def next_step(
    *,
    now: float,
    stop: Stop | None,
    deadline_at: float,
    sections: Collection[Section],
    uncancelled: bool,
    warn_at: float = math.inf,
) -> tuple[Step, float]:
    """Decide about a handler that is still running.

    Args:
        now: the time.
        stop: what it is to be stopped for; None for nothing.
        deadline_at: when its time is over: the first of its deadlines (`rules.deadlines`).
        sections: the protected sections it is in.
        uncancelled: whether the handler's task has no cancel request left (``Task.cancelling() == 0``).
        warn_at: when readers are to be warned of a deadline; nobody is warned of one that cannot be reached any more.

    Returns:
        The step, and for WAIT the time to look again at the latest.
    """
    late = min((section.until for section in sections if not section.overrun), default=math.inf)
    if late <= now:
        return Step.OVERRUN, now
    if stop is None:
        if deadline_at <= now:
            return Step.EXPIRE, now
        return (Step.WARN, now) if warn_at <= now else (Step.WAIT, min(deadline_at, warn_at, late))
    if stop.delivered_at is None:
        held = not stop.written or late < math.inf
        return (Step.WAIT, late) if held else (Step.DELIVER, now)
    if stop.insist_at > now:
        return Step.WAIT, min(stop.insist_at, late)
    if uncancelled and stop.cause is Cause.CANCEL:
        return Step.DECLINED, now
    return (Step.WAIT, late) if late < math.inf else (Step.INSIST, now)
