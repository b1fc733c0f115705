"""Saved questions to a list.

Owns:   their names, and what each asks at a given time.
Never:  reads a clock.
"""

from __future__ import annotations

from enum import StrEnum

from streaming.records import Priority, TaskStatus
from streaming.rules.fields import Operator, Value
from streaming.rules.filters import Filter, Term
from streaming.rules.lifecycle import LIVE
from streaming.rules.sorting import DEFAULT_ORDER, Order, parse_sort
from streaming.rules.times import earlier, midnight

_UNSUCCESSFUL = (TaskStatus.FAILED, TaskStatus.INTERRUPTED, TaskStatus.TIMED_OUT)


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


def preset(name: Preset, *, now: str, stale_s: float) -> tuple[Filter, tuple[Order, ...]]:
    """What a preset asks.

    Args:
        name: which one.
        now: RFC 3339.
        stale_s: seconds of silence after which a running task is stale.

    Returns:
        The filter, which can be narrowed, and the order unless another one is asked for.
    """
    live = _term("status", Operator.IN, *sorted(LIVE))
    match name:
        case Preset.ACTIVE:
            return Filter((live,)), DEFAULT_ORDER
        case Preset.FAILED:
            return Filter((_term("status", Operator.IN, *_UNSUCCESSFUL),)), parse_sort("-finished_at")
        case Preset.COMPLETED_TODAY:
            today = _term("finished_at", Operator.GTE, midnight(now))
            return Filter((_term("status", Operator.EQ, TaskStatus.COMPLETED), today)), parse_sort("-finished_at")
        case Preset.HIGH_PRIORITY:
            high = _term("priority", Operator.GTE, Priority.HIGH)
            return Filter((live, high)), parse_sort("-priority,-created_at")
        case Preset.STALE:
            silent = _term("heartbeat_at", Operator.LT, earlier(now, stale_s))
            return Filter((_term("status", Operator.EQ, TaskStatus.RUNNING), silent)), parse_sort("heartbeat_at")


def _term(field: str, operator: Operator, *values: Value) -> Term:
    return Term(field, operator, values)
