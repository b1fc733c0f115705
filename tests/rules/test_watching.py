"""A task that nobody watches any more: when it is cancelled."""

from __future__ import annotations

import math

import pytest

from streaming.rules.stopping import Section
from streaming.rules.watching import cancel_at


def at(
    *sections: Section, readers: int = 0, left_at: float | None = 100.0, cancel_unwatched_s: float | None = 30.0
) -> float:
    return cancel_at(cancel_unwatched_s, readers=readers, left_at=left_at, sections=sections)


def test_a_task_is_cancelled_some_time_after_its_last_reader_has_left() -> None:
    assert at() == 130
    assert at(cancel_unwatched_s=0.0) == 100


def test_a_task_that_goes_on_unwatched_is_never_cancelled_for_it() -> None:
    assert at(cancel_unwatched_s=None) == math.inf


@pytest.mark.parametrize("readers", [1, 5])
def test_who_comes_back_keeps_it_going(readers: int) -> None:
    assert at(readers=readers) == math.inf


def test_a_task_that_nobody_has_ever_watched_goes_on() -> None:
    assert at(left_at=None) == math.inf


def test_a_protected_section_is_waited_for_as_long_as_it_may_take() -> None:
    assert at(Section("paying", 200.0)) == 200
    assert at(Section("paying", 200.0), Section("saving", 300.0)) == 300
    assert at(Section("paying", 110.0)) == 130


def test_a_section_that_has_overrun_protects_no_more() -> None:
    assert at(Section("paying", 120.0, overrun=True), Section("late", 150.0)) == 150
    assert at(Section("paying", 500.0, overrun=True)) == 130
