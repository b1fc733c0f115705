"""When a task may end: a range that is honest at the beginning and narrow at the end."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streaming.rules.eta import eta

PAST = [10.0 * number for number in range(1, 11)]  # p25 is 30, p90 is 90


def test_who_knows_nothing_says_nothing() -> None:
    assert eta(100, 90, None, []) is None
    assert eta(100, 90, 0, []) is None


def test_a_task_that_has_just_begun_takes_as_long_as_those_before() -> None:
    assert eta(100, 100, None, PAST) == (30, 90)
    assert eta(100, 100, 0, PAST) == (30, 90)


def test_what_has_passed_counts_and_past_runs_that_were_shorter_say_nothing_any_more() -> None:
    """After 45 s those of 50 to 100 s are left: p25 is 60, p90 is 100."""
    assert eta(145, 100, None, PAST) == (15, 55)


def test_a_task_that_runs_longer_than_all_before_is_not_said_to_end_now() -> None:
    assert eta(300, 100, None, PAST) is None
    assert eta(300, 100, 50, PAST) == eta(300, 100, 50, [])


def test_progress_alone_gives_a_range_around_what_is_left_at_this_speed() -> None:
    """Half is done in 60 s, so 60 s are left, half as many again or a third less."""
    assert eta(160, 100, 50, []) == (40, 90)


def test_the_more_is_done_the_narrower_is_the_range() -> None:
    shares = []
    for percent in (2, 10, 50, 90, 99):
        found = eta(200, 100, percent, [])
        assert found is not None
        shares.append(found[1] / found[0])

    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 1.03


def test_both_are_mixed_by_how_much_is_done() -> None:
    """At a quarter, after 20 s: own 60 s by 1.75; of past runs over 20 s 40 and 100, that is 20 and 80 left."""
    found = eta(120, 100, 25, PAST)

    assert found is not None
    assert found[0] == pytest.approx(0.25 * 60 / 1.75 + 0.75 * 20)
    assert found[1] == pytest.approx(0.25 * 60 * 1.75 + 0.75 * 80)


def test_a_task_that_says_it_is_done_ends_now() -> None:
    assert eta(120, 100, 100, PAST) == (0, 0)
    assert eta(100, 100, 100, []) == (0, 0)


def test_too_little_progress_and_no_time_say_nothing() -> None:
    assert eta(200, 100, 0.001, []) is None
    assert eta(100, 100, 50, []) is None


def test_a_clock_that_went_back_has_not_passed_any_time() -> None:
    assert eta(90, 100, None, PAST) == (30, 90)
    assert eta(90, 100, 50, []) is None


@example(0.0, 1.0, None, [0.0])
@given(
    st.floats(0, 1e9),
    st.floats(0, 1e9),
    st.none() | st.floats(0, 100),
    st.lists(st.floats(0, 1e9), max_size=50),
)
def test_a_range_is_never_negative_nor_the_wrong_way_round_nor_for_ever(
    now: float, started_at: float, percent: float | None, past: list[float]
) -> None:
    found = eta(now, started_at, percent, past)

    assert found is None or 0 <= found[0] <= found[1] < 1e13
    assert found is not None or not past or max(past) <= max(0.0, now - started_at)
