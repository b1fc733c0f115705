"""How a grace period is spent, and what becomes of the tasks that run in it.

Owns:   the phases, and the split of the grace into finishing, stopping and flushing; whether a task comes to its own
        end.
Never:  looks at a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

STOP_SHARE = 0.4
FLUSH_SHARE = 0.15
FLUSH_MAX_S = 2.0


class Phase(StrEnum):
    """How far a server is on its way out; the words of the diary."""

    NONE = "none"
    BEGIN = "begin"
    STOP = "stop"
    FLUSH = "flush"
    END = "end"


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """The phases of a drain, one after the other, in seconds.

    Attributes:
        finish_s: running handlers may come to their own end.
        stop_s: they have been cancelled, and clean up.
        flush_s: what is left for the store and the readers.
    """

    finish_s: float
    stop_s: float
    flush_s: float


def plan_drain(grace_s: float, cancel_grace_s: float) -> DrainPlan:
    """Split a grace period.

    Args:
        grace_s: seconds from the signal to the exit.
        cancel_grace_s: seconds that a cancelled handler has to clean up in ordinary times; in a drain it gets them
            too if they are not over two fifths of the grace.

    Returns:
        The plan; its phases add up to ``grace_s``.
    """
    flush_s = min(FLUSH_MAX_S, FLUSH_SHARE * grace_s)
    stop_s = min(cancel_grace_s, STOP_SHARE * grace_s)
    return DrainPlan(grace_s - stop_s - flush_s, stop_s, flush_s)


class Outlook(StrEnum):
    """What becomes of a running task in a drain."""

    FINISH = "finish"
    STOP = "stop"
    UNKNOWN = "unknown"


def outlook(span: tuple[float, float] | None, left_s: float) -> Outlook:
    """Say whether a task comes to its own end before it is stopped.

    Args:
        span: seconds until its end at the least and at the most; None when nothing is known.
        left_s: seconds until those that still run are stopped.
    """
    if left_s <= 0:
        return Outlook.STOP
    if span is None:
        return Outlook.UNKNOWN
    earliest_s, latest_s = span
    if latest_s <= left_s:
        return Outlook.FINISH
    return Outlook.STOP if earliest_s > left_s else Outlook.UNKNOWN
