"""The history of a task: which status it had, from when on, how long, and who had brought it about.

Owns:   what comes out of the changes of a status: the status before, and how long one lasted.
Never:  reads a clock: a status that still lasts has no length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from streaming.events import seconds_of
from streaming.records import Change, TaskStatus


@dataclass(frozen=True, slots=True)
class Span:
    """One status of a task, and the change that began it.

    Attributes:
        seq: of the event that tells the change.
        status: the status.
        before: the one before; None for the first.
        time: when it began, RFC 3339.
        by: who did it: a principal, ``server`` or ``handler``.
        reason: why, in words.
        lasted_s: seconds; None for one that lasts.
    """

    seq: int
    status: TaskStatus
    before: TaskStatus | None
    time: str
    by: str
    reason: str
    lasted_s: float | None

    def as_json(self) -> dict[str, Any]:
        """The span as it goes over the wire: a change from one status to another."""
        return {
            "seq": self.seq,
            "from": None if self.before is None else self.before.value,
            "to": self.status.value,
            "time": self.time,
            "by": self.by,
            "reason": self.reason,
            "lasted_s": self.lasted_s,
        }


def spans(changes: Sequence[Change]) -> list[Span]:
    """Tell the changes of one task, in their order, as a history."""
    lengths = [_seconds_between(one.time, next_one.time) for one, next_one in pairwise(changes)]
    before = [None, *(change.status for change in changes)]
    return [
        Span(change.seq, change.status, earlier, change.time, change.by, change.reason, lasted_s)
        for change, earlier, lasted_s in zip(changes, before, [*lengths, None], strict=False)
    ]


def _seconds_between(start: str, end: str) -> float:
    """Never negative: a clock that was set back makes no time pass backwards."""
    return max(0.0, round(seconds_of(end) - seconds_of(start), 6))
