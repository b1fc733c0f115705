"""Sliding windows: exact at their edges, on a clock of the test's, and bounded whatever names they are shown."""

from __future__ import annotations

import pytest

from streaming.values import read_rate
from streaming.web.rates import Allowance, Rate


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_as_many_as_the_limit_are_granted_and_one_more_is_not() -> None:
    rate = Rate(*read_rate("3/second"), Clock())

    assert [rate.ask("a").granted for _ in range(4)] == [True, True, True, False]


def test_each_name_has_its_own() -> None:
    rate = Rate(*read_rate("1/second"), Clock())

    assert rate.ask("a").granted
    assert not rate.ask("a").granted
    assert rate.ask("b").granted


def test_what_is_refused_does_not_count() -> None:
    clock = Clock()
    rate = Rate(*read_rate("2/second"), clock)
    for _ in range(100):
        rate.ask("a")
    clock.now += 2

    assert [rate.ask("a").granted for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("notation", ["4/second", "10 per 2 seconds", "1/minute", "1000/hour"])
@pytest.mark.parametrize("into_the_window", [0.0, 0.3, 0.99])
def test_after_the_named_wait_one_more_is_granted_and_not_before(notation: str, into_the_window: float) -> None:
    clock = Clock()
    rate = Rate(*read_rate(notation), clock)
    window_s = read_rate(notation)[1]
    clock.now = 1000 * window_s + into_the_window * window_s
    for _ in range(3):
        while rate.ask("a").granted:
            pass
        refused = rate.ask("a")
        assert not refused.granted
        assert 0 < refused.wait_s <= 2 * window_s
        clock.now += refused.wait_s * 0.999
        assert not rate.ask("a").granted
        clock.now += refused.wait_s * 0.001 + 1e-6 * window_s
        assert rate.ask("a").granted


def test_no_window_of_any_place_has_more_than_its_limit_by_the_weighted_count() -> None:
    clock = Clock()
    rate = Rate(*read_rate("10/second"), clock)
    granted = 0
    for _ in range(1000):  # ten seconds, a hundred requests in each
        clock.now += 0.01
        granted += rate.ask("a").granted

    assert 80 <= granted <= 110


def test_the_answer_says_how_many_are_left_and_when_there_are_more() -> None:
    rate = Rate(*read_rate("2/second"), Clock())

    assert rate.ask("a") == Allowance(True, 2, 1, 1, 0.0)
    full = rate.ask("a")
    assert (full.granted, full.remaining) == (True, 0)
    assert full.wait_s == pytest.approx(1.5)
    assert full.headers("principal") == {
        "ratelimit-policy": '"principal";q=2;w=1',
        "ratelimit": '"principal";r=0;t=2',
    }


def test_a_clock_that_jumps_ahead_forgets_everything_older() -> None:
    clock = Clock()
    rate = Rate(*read_rate("1/second"), clock)
    rate.ask("a")
    clock.now += 1e6

    assert rate.ask("a").granted


def test_names_are_bounded_and_the_newest_are_kept() -> None:
    rate = Rate(*read_rate("1/second"), Clock(), names_max=10)
    for number in range(1000):
        rate.ask(str(number))

    assert len(rate) == 10
    assert not rate.ask("999").granted
    assert rate.ask("0").granted


@pytest.mark.parametrize(
    "notation", ["", "x", "0/second", "-1/second", "20", "20/fortnight", "5/month", "1/2/3", "nan/second"]
)
def test_what_is_no_rate_is_refused(notation: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        read_rate(notation)
