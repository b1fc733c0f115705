"""Whether a loop is blocked: told in time, at doubling times, not too often, and not of a process that was stopped."""

from __future__ import annotations

import pytest

from streaming.rules.stall import BEATS, MINUTE_S, PERIOD_MIN_S, REPORTS_MAX, Report, Watch


class Loop:
    """A loop that is looked at once a period, on a clock of its own."""

    def __init__(self, stall_s: float = 1.0) -> None:
        self.watch = Watch(stall_s)
        self.now, self.beats, self.worked_s = 1000.0, 0, 0.0

    def beat(self) -> Report | None:
        self.beats += 1
        return self.look()

    def look(self, after_s: float | None = None, *, busy: float = 0.0) -> Report | None:
        after_s = self.watch.period_s if after_s is None else after_s
        self.now += after_s
        self.worked_s += busy * after_s
        return self.watch.look(self.now, self.beats, self.worked_s)

    def blocked(self, looks: int) -> list[Report]:
        return [report for report in (self.look() for _ in range(looks)) if report is not None]


def test_a_loop_that_goes_on_is_no_news() -> None:
    loop = Loop()
    assert [loop.beat() for _ in range(100)] == [None] * 100


def test_a_stall_is_told_as_soon_as_it_counts_and_at_twice_the_time_each() -> None:
    loop = Loop(stall_s=1.0)
    loop.beat()
    assert loop.blocked(BEATS - 1) == []
    assert loop.look() == Report(1.0, True, 0)
    assert [(report.seconds, report.first) for report in loop.blocked(40)] == [(2.0, False), (4.0, False), (8.0, False)]


def test_the_next_stall_is_another_one() -> None:
    loop = Loop()
    loop.beat()
    loop.blocked(BEATS * 3)
    assert loop.beat() is None
    assert loop.blocked(BEATS) == [Report(1.0, True, 0)]


def test_a_loop_that_never_begins_is_told_of_too() -> None:
    assert [report.first for report in Loop().blocked(BEATS + 2)] == [True]


def test_a_process_that_was_stopped_is_nobodys_fault() -> None:
    loop = Loop()
    loop.beat()
    assert loop.look(3600.0) is None
    assert loop.beat() is None


def test_of_the_time_in_which_the_process_was_stopped_one_period_counts() -> None:
    loop = Loop()
    loop.beat()
    loop.look()
    loop.look(3600.0)
    loop.look()
    assert loop.look() == Report(1.0, True, 0)


def test_whoever_holds_the_interpreter_keeps_the_watch_from_looking_and_is_told_of() -> None:
    loop = Loop()
    loop.beat()
    assert loop.look(5.0, busy=0.9) == Report(5.0, True, 0)
    assert loop.blocked(3 * BEATS) == [Report(8.0, False, 0)]


def test_a_look_that_is_a_little_late_counts_whole() -> None:
    loop = Loop()
    loop.beat()
    assert loop.look(0.5) is None
    assert loop.look(0.5) == Report(1.0, True, 0)


def test_no_more_is_told_in_a_minute_than_anybody_reads_and_the_next_says_how_many_were_left_out() -> None:
    loop = Loop()
    told = []
    for _ in range(REPORTS_MAX + 3):
        loop.beat()
        told += loop.blocked(BEATS)
    assert len(told) == REPORTS_MAX
    loop.now += MINUTE_S
    loop.beat()
    assert loop.blocked(BEATS) == [Report(1.0, True, 3)]
    loop.beat()
    assert loop.blocked(BEATS) == [Report(1.0, True, 0)]


def test_a_stall_that_was_left_out_at_first_is_told_first_later() -> None:
    loop = Loop()
    for _ in range(REPORTS_MAX):
        loop.beat()
        loop.blocked(BEATS)
    loop.beat()
    assert loop.blocked(BEATS) == []
    loop.now += MINUTE_S
    assert loop.watch.look(loop.now, loop.beats, loop.worked_s) is None, "a pause in which nothing was done"
    assert loop.blocked(BEATS) == [Report(2.0, True, 1)]


@pytest.mark.parametrize(("stall_s", "period_s"), [(1.0, 0.25), (0.001, PERIOD_MIN_S)])
def test_the_looks_are_as_many_as_are_needed(stall_s: float, period_s: float) -> None:
    assert Watch(stall_s).period_s == period_s
