"""Saved questions to a list.

Owns:   their names, and what each asks at a given time.
Never:  reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

from streaming.records import Priority, TaskStatus
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, Term
from streaming.rules.lifecycle import LIVE
from streaming.rules.sorting import Order, parse_sort
from streaming.rules.times import earlier, midnight


class Preset(StrEnum):
    """The name of a saved question.

    ``active``: has not ended, newest first. ``failed``: failed, timed out or interrupted, last end first.
    ``completed_today``: completed since 00:00 UTC, last end first. ``high_priority``: not ended, of high or urgent
    priority, urgent first. ``stale``: running, and not heard of for a while, the longest silence first.
    """

    ACTIVE = "active"
    FAILED = "failed"
    COMPLETED_TODAY = "completed_today"
    HIGH_PRIORITY = "high_priority"
    STALE = "stale"


def _status(*statuses: TaskStatus) -> Term:
    if len(statuses) == 1:
        return Term("status", Operator.EQ, statuses)
    return Term("status", Operator.IN, tuple(sorted(statuses)))


_LIVE = _status(*LIVE)
_UNSUCCESSFUL = _status(TaskStatus.FAILED, TaskStatus.TIMED_OUT, TaskStatus.INTERRUPTED)
_HIGH = Term("priority", Operator.GTE, (Priority.HIGH,))

#: What each asks, given the time and the seconds of silence after which a task is stale.
_TERMS: Mapping[Preset, Callable[[str, float], tuple[Term, ...]]] = MappingProxyType(
    {
        Preset.ACTIVE: lambda now, stale_s: (_LIVE,),
        Preset.FAILED: lambda now, stale_s: (_UNSUCCESSFUL,),
        Preset.COMPLETED_TODAY: lambda now, stale_s: (
            _status(TaskStatus.COMPLETED),
            Term("finished_at", Operator.GTE, (midnight(now),)),
        ),
        Preset.HIGH_PRIORITY: lambda now, stale_s: (_LIVE, _HIGH),
        Preset.STALE: lambda now, stale_s: (
            _status(TaskStatus.RUNNING),
            Term("heartbeat_at", Operator.LT, (earlier(now, stale_s),)),
        ),
    }
)

_SORTS = MappingProxyType(
    {
        Preset.ACTIVE: "-created_at",
        Preset.FAILED: "-finished_at",
        Preset.COMPLETED_TODAY: "-finished_at",
        Preset.HIGH_PRIORITY: "-priority,-created_at",
        Preset.STALE: "heartbeat_at",
    }
)


def preset(name: Preset, *, now: str, stale_s: float) -> tuple[Filter, tuple[Order, ...]]:
    """What a preset asks.

    Args:
        name: which one.
        now: RFC 3339.
        stale_s: seconds of silence after which a running task is stale.

    Returns:
        The filter, which can be narrowed, and the order unless another one is asked for.
    """
    return Filter(_TERMS[name](now, stale_s)), parse_sort(_SORTS[name])
