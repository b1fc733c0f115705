"""Whatever has to be there is all that is left."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.testing.choices import Choice, Trace
from streaming.testing.shrink import RUNS_MAX, shrink


def trace_of(numbers: range | set[int]) -> Trace:
    return Trace.of(Choice("schedule", number, 1) for number in numbers)


@st.composite
def needs(draw: st.DrawFn) -> tuple[int, set[int]]:
    """So many choices, and those that a failure needs."""
    size = draw(st.integers(0, 120))
    return size, draw(st.sets(st.integers(0, size - 1), max_size=12)) if size else set()


@given(needs())
def test_what_a_failure_needs_is_what_is_left(need: tuple[int, set[int]]) -> None:
    size, needed = need
    wanted = set(trace_of(needed))

    left, runs = shrink(trace_of(range(size)), lambda trace: wanted <= set(trace))

    assert set(left) == wanted
    assert runs <= 2 * max(1, len(needed)) * (math.log2(max(size, 2)) + 2) + size


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_no_single_choice_can_be_left_out_whatever_the_failure_is(size: int, salt: int) -> None:
    """Also of one that does not get less likely with each choice that is left out."""

    def fails(trace: Trace) -> bool:
        return len(trace) == size or hash((salt, tuple(each.index for each in trace))) % 3 == 0

    left, _ = shrink(trace_of(range(size)), fails)

    assert fails(left)
    assert not any(fails(Trace.of(each for each in left if each != out)) for out in left)


def test_a_failure_that_needs_nothing_shrinks_to_nothing_at_once() -> None:
    assert shrink(trace_of(range(1000)), lambda trace: True) == (Trace(), 1)


def test_a_failure_that_needs_all_stays_as_it_is() -> None:
    whole = trace_of(range(20))

    left, runs = shrink(whole, lambda trace: trace == whole)

    assert left == whole
    assert runs <= 3 * 20


def test_nothing_is_not_tried() -> None:
    def never(trace: Trace) -> bool:
        raise AssertionError(trace)

    assert shrink(Trace(), never) == (Trace(), 0)


@pytest.mark.parametrize("runs_max", [0, 1, 2, 7, 50])
def test_a_search_keeps_its_limit_and_what_it_has_found(runs_max: int) -> None:
    tried: list[Trace] = []
    wanted = set(trace_of({3, 33, 66}))

    def fails(trace: Trace) -> bool:
        tried.append(trace)
        return wanted <= set(trace)

    left, runs = shrink(trace_of(range(100)), fails, runs_max=runs_max)

    assert len(tried) == runs <= runs_max
    assert wanted <= set(left)
    assert len(left) < 100 or runs_max < 3


def test_a_search_is_the_same_each_time() -> None:
    def search() -> list[str]:
        tried: list[str] = []

        def fails(trace: Trace) -> bool:
            tried.append(str(trace))
            return set(trace_of({5, 50})) <= set(trace)

        shrink(trace_of(range(64)), fails)
        return tried

    assert search() == search()


def test_streams_and_values_are_kept_as_they_are() -> None:
    whole = Trace.parse("schedule:1=3,2=1;store-1:0=2,7=1")
    wanted = Trace.parse("schedule:1=3;store-1:7=1")

    assert shrink(whole, lambda trace: set(wanted) <= set(trace))[0] == wanted


def test_a_thousand_runs_are_enough_for_long_traces() -> None:
    wanted = set(trace_of({1, 500, 1999}))

    left, runs = shrink(trace_of(range(2000)), lambda trace: wanted <= set(trace))

    assert set(left) == wanted
    assert runs < RUNS_MAX / 5
