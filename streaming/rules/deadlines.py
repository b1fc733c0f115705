"""Which deadlines a task has, and when its readers are warned of them.

Rules of this file:

- A waiting task has a deadline for its turn, a running one for its run and for its silence, each one for the whole.
- Readers are warned of a deadline once, ``warning_s`` before it, and never earlier than in the last fifth of the time.
  A deadline that was moved is warned of again, and so is every new silence.
- A limit that was not asked for is a deadline at infinity.

All times are seconds on one clock; the caller brings those of a record onto it.

Owns:   `Limit`, `Deadlines`, the codes and words of a task that was over its time.
Never:  looks at a clock, stops or warns anybody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from streaming.records import Policy, TaskError, TaskStatus

#: The last part of a time, in which readers may be warned that it ends.
WARNING_SHARE = 1 / 5


class Limit(StrEnum):
    """What a task may be too long for; the name of the field that says how long."""

    QUEUE = "queue_timeout_s"
    RUN = "timeout_s"
    HEARTBEAT = "heartbeat_timeout_s"
    TOTAL = "total_timeout_s"


#: The error code of a task that was over a limit.
EXPIRED_CODES = MappingProxyType(
    {
        Limit.QUEUE: "queue_timeout",
        Limit.RUN: "timed_out",
        Limit.HEARTBEAT: "heartbeat_timeout",
        Limit.TOTAL: "total_timeout",
    }
)

_TOO_LONG = MappingProxyType(
    {
        Limit.QUEUE: "Waited longer",
        Limit.RUN: "Ran longer",
        Limit.HEARTBEAT: "Was silent longer",
        Limit.TOTAL: "Took longer",
    }
)

_WAITING = (Limit.QUEUE, Limit.TOTAL)
_LIMITS = MappingProxyType(
    {
        TaskStatus.PENDING: _WAITING,
        TaskStatus.RETRYING: _WAITING,
        TaskStatus.RUNNING: (Limit.RUN, Limit.HEARTBEAT, Limit.TOTAL),
    }
)


@dataclass(slots=True)
class Due:
    """One deadline.

    Attributes:
        limit: which.
        since: from when on it counts.
        seconds: how long.
        warning_s: how long before it readers are warned, at most.
        warned: whether they were.
    """

    limit: Limit
    since: float
    seconds: float
    warning_s: float
    warned: bool = False

    @property
    def at(self) -> float:
        """When the time is over."""
        return self.since + self.seconds

    @property
    def warn_at(self) -> float:
        """When readers are to be warned; infinity once they were."""
        return math.inf if self.warned else self.at - min(self.warning_s, self.seconds * WARNING_SHARE)


class Deadlines:
    """The deadlines of a task, as long as it stays in its status.

    Args:
        dues: one for each limit that counts in this status; of two at the same time the first is named.
    """

    __slots__ = ("_dues",)

    def __init__(self, dues: Iterable[Due]) -> None:
        self._dues = tuple(dues)

    @property
    def dues(self) -> tuple[Due, ...]:
        """All of them, those at infinity included."""
        return self._dues

    def at(self, limit: Limit) -> float:
        """When a limit is reached; infinity if it does not count."""
        due = self._of(limit)
        return math.inf if due is None else due.at

    @property
    def ends_at(self) -> float:
        """When the time of a run is over, whatever it says meanwhile: what a handler sees."""
        return min(self.at(Limit.RUN), self.at(Limit.TOTAL))

    def next_due(self) -> Due:
        """The deadline that comes first; perhaps at infinity."""
        return min(self._dues, key=lambda due: due.at)

    def next_warning(self) -> Due:
        """The deadline of which readers are to be warned first; who does it sets ``warned``."""
        return min(self._dues, key=lambda due: due.warn_at)

    def heard(self, now: float) -> None:
        """Note that the task was heard of, by an event of its own and not of the server: its silence begins anew."""
        due = self._of(Limit.HEARTBEAT)
        if due is not None:
            due.since, due.warned = now, False

    def move(self, limit: Limit, seconds: float | None) -> None:
        """Make a limit longer or shorter; one that does not count in this status needs nothing here.

        Args:
            limit: which.
            seconds: the new length, from where it counted before; None for as long as it takes.
        """
        due = self._of(limit)
        if due is not None:
            due.seconds, due.warned = _seconds(seconds), False

    def _of(self, limit: Limit) -> Due | None:
        return next((due for due in self._dues if due.limit is limit), None)


def deadlines_of(
    status: TaskStatus, policy: Policy, timeout_s: float, *, created_at: float, since: float, warning_s: float
) -> Deadlines:
    """The deadlines of a task that has come to a status.

    Args:
        status: a live one.
        policy: what the task asks for.
        timeout_s: seconds one run may take.
        created_at: when the task was started.
        since: when the waiting or the run begins; for a retry the end of its pause.
        warning_s: how long before a deadline readers are warned, at most.

    Returns:
        All of them, those at infinity included.
    """
    lengths = {
        Limit.QUEUE: policy.queue_timeout_s,
        Limit.RUN: timeout_s,
        Limit.HEARTBEAT: policy.heartbeat_timeout_s,
        Limit.TOTAL: policy.total_timeout_s,
    }
    return Deadlines(
        Due(limit, created_at if limit is Limit.TOTAL else since, _seconds(lengths[limit]), warning_s)
        for limit in _LIMITS[status]
    )


def for_child(total_timeout_s: float | None, remaining_s: float) -> float | None:
    """The ``total_timeout_s`` of a child task: its own, but no more than what its parent has left.

    Args:
        total_timeout_s: what was asked for.
        remaining_s: seconds that the parent has left, perhaps infinity.

    Returns:
        Seconds; None for as long as it takes.
    """
    seconds = min(_seconds(total_timeout_s), remaining_s)
    return None if seconds == math.inf else seconds


def expired(limit: Limit, seconds: float) -> TaskError:
    """The error of a task that was over a limit of so many seconds."""
    return TaskError(EXPIRED_CODES[limit], f"{_TOO_LONG[limit]} than its {limit} of {seconds:.15g} s.")


def warning_data(due: Due, *, at: str, now: float) -> dict[str, Any]:
    """The data of a ``deadline_warning`` event.

    Args:
        due: the deadline.
        at: the same moment, RFC 3339.
        now: the time.
    """
    return {"deadline": due.limit.value, "at": at, "remaining_s": max(0.0, round(due.at - now, 3))}


def _seconds(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
