"""Each preset finds what its name says, in the order that is of use."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from streaming.records import Priority, Record, TaskStatus
from streaming.rules.filters import FilterLimits, parse_filter
from streaming.rules.lifecycle import LIVE
from streaming.rules.presets import Preset, preset
from streaming.rules.sorting import in_order, sort_text
from tests.rules.tasks import RECORDS

NOW = "2026-11-21T12:00:00.000000Z"
LIMITS = FilterLimits()


def record(number: int = 0, **changes: Any) -> Record:
    plain: dict[str, Any] = {
        "type": "count",
        "status": TaskStatus.RUNNING,
        "params": {},
        "timeout_s": 60.0,
        "created_at": "2026-11-20T12:00:00.000000Z",
        "updated_at": "2026-11-20T12:00:00.000000Z",
    }
    return Record(id=f"{number:032x}", **{**plain, **changes})


def is_in(name: Preset, found: Record) -> bool:
    return preset(name, now=NOW, stale_s=300)[0].matches(found, frozenset())


@given(RECORDS)
def test_active_is_what_has_not_ended(found: Record) -> None:
    assert is_in(Preset.ACTIVE, found) is (found.status in LIVE)


@given(RECORDS)
def test_failed_is_what_has_ended_badly_and_was_not_cancelled(found: Record) -> None:
    assert is_in(Preset.FAILED, found) is (found.status.value in ("failed", "timed_out", "interrupted"))


@pytest.mark.parametrize(
    ("status", "finished_at", "wanted"),
    [
        (TaskStatus.COMPLETED, "2026-11-21T00:00:00.000000Z", True),
        (TaskStatus.COMPLETED, "2026-11-21T11:59:59.999999Z", True),
        (TaskStatus.COMPLETED, "2026-11-20T23:59:59.999999Z", False),
        (TaskStatus.FAILED, "2026-11-21T11:00:00.000000Z", False),
        (TaskStatus.RUNNING, None, False),
    ],
)
def test_completed_today_begins_at_midnight_in_utc(status: TaskStatus, finished_at: str | None, wanted: bool) -> None:
    assert is_in(Preset.COMPLETED_TODAY, record(status=status, finished_at=finished_at)) is wanted


@given(RECORDS)
def test_high_priority_is_what_has_not_ended_and_is_high_or_urgent(found: Record) -> None:
    wanted = found.status in LIVE and found.priority in (Priority.HIGH, Priority.URGENT)

    assert is_in(Preset.HIGH_PRIORITY, found) is wanted


@pytest.mark.parametrize(
    ("status", "heartbeat_at", "wanted"),
    [
        (TaskStatus.RUNNING, "2026-11-21T11:54:59.999999Z", True),
        (TaskStatus.RUNNING, "2026-11-21T11:55:00.000000Z", False),
        (TaskStatus.RUNNING, None, False),
        (TaskStatus.RETRYING, "2026-11-21T11:00:00.000000Z", False),
        (TaskStatus.FAILED, "2026-11-21T11:00:00.000000Z", False),
    ],
)
def test_stale_is_what_runs_and_was_not_heard_of(status: TaskStatus, heartbeat_at: str | None, wanted: bool) -> None:
    assert is_in(Preset.STALE, record(status=status, heartbeat_at=heartbeat_at)) is wanted


@pytest.mark.parametrize(
    ("name", "order"),
    [
        (Preset.ACTIVE, "-created_at,-id"),
        (Preset.FAILED, "-finished_at,-id"),
        (Preset.COMPLETED_TODAY, "-finished_at,-id"),
        (Preset.HIGH_PRIORITY, "-priority,-created_at,-id"),
        (Preset.STALE, "heartbeat_at,id"),
    ],
)
def test_each_has_its_order(name: Preset, order: str) -> None:
    assert sort_text(preset(name, now=NOW, stale_s=300)[1]) == order


def test_urgent_comes_before_high() -> None:
    some = [record(rank, priority=priority) for rank, priority in enumerate(Priority)]

    found = in_order(some, preset(Preset.HIGH_PRIORITY, now=NOW, stale_s=300)[1])

    assert [each.priority.value for each in found] == ["urgent", "high", "normal", "low"]


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        (Preset.ACTIVE, [("status", "pending,running,retrying")]),
        (Preset.FAILED, [("status", "failed,timed_out,interrupted")]),
        (Preset.COMPLETED_TODAY, [("status", "completed"), ("finished_at[gte]", "2026-11-21T00:00:00Z")]),
        (Preset.HIGH_PRIORITY, [("status", "pending,running,retrying"), ("priority[gte]", "high")]),
        (Preset.STALE, [("status", "running"), ("heartbeat_at[lt]", "2026-11-21T11:55:00Z")]),
    ],
)
def test_a_preset_is_nothing_that_a_caller_could_not_ask(name: Preset, pairs: list[tuple[str, str]]) -> None:
    assert preset(name, now=NOW, stale_s=300)[0].json() == parse_filter(pairs, LIMITS).json()


def test_every_preset_is_described() -> None:
    for name in Preset:
        assert f"``{name}``:" in (Preset.__doc__ or "")
