"""What is rare happens at once, and what is frequent evenly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.pace import Pace, Rate


def times(pace: Pace, wishes: list[float]) -> list[float]:
    """When it happens, if it is wished for at these times, in their order."""
    now, happened = 0.0, []
    for wish in wishes:
        now = max(now, wish)
        now += pace.pause_s(now)
        pace.happens(now)
        happened.append(now)
    return happened


def test_what_is_rare_happens_at_once() -> None:
    assert times(Pace(per_s=10, at_once=1), [0.0, 0.2, 0.4]) == [0.0, 0.2, 0.4]


def test_so_many_happen_at_once_and_the_others_evenly() -> None:
    happened = times(Pace(per_s=4, at_once=3), [0.0] * 6)
    assert happened == [0.0, 0.0, 0.0, 0.25, 0.5, 0.75]


def test_after_a_rest_they_may_happen_at_once_again() -> None:
    happened = times(Pace(per_s=4, at_once=2), [0.0] * 4 + [10.0] * 3)
    assert happened == [0.0, 0.0, 0.25, 0.5, 10.0, 10.0, 10.25]


def test_who_does_not_wait_makes_nobody_wait_for_long() -> None:
    pace = Pace(per_s=4, at_once=2)
    for _ in range(100):
        pace.happens(0.0)
    assert pace.pause_s(0.0) == 0.25


@given(
    wishes=st.lists(st.floats(0, 10), max_size=40).map(sorted),
    per_s=st.sampled_from([1.0, 8.0, 64.0]),
    at_once=st.integers(1, 5),
)
def test_it_never_happens_more_often_nor_later_than_it_must(wishes: list[float], per_s: float, at_once: int) -> None:
    happened = times(Pace(per_s=per_s, at_once=at_once), wishes)
    for first in range(len(happened)):
        for last in range(first, len(happened)):
            assert last - first + 1 <= at_once + (happened[last] - happened[first]) * per_s + 1e-6
    for wish, at in zip(wishes, happened, strict=True):
        assert at >= wish
        if at > wish:  # somebody has taken its turn
            before = [other for other in happened if at - at_once / per_s - 1e-9 <= other < at + 1e-9]
            assert len(before) >= at_once


@pytest.mark.parametrize(("times", "every_s"), [(1, 0.001), (1, 0.0001), (5, 0.001), (100, 0.1)])
def test_a_rate_is_what_it_has_been_of_late(times: int, every_s: float) -> None:
    rate = Rate(within_s=1.0)
    rate.happens(1_000_000, 0.0)  # long ago
    for number in range(1, int(50 / every_s)):
        rate.happens(times, number * every_s)
    assert rate.per_s(50.0) == pytest.approx(times / every_s, rel=0.1)
    assert rate.per_s(53.0) < 0.06 * times / every_s


def test_nothing_has_no_rate() -> None:
    assert Rate(within_s=1.0).per_s(5.0) == 0
