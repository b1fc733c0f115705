"""Values are counted by their size, as Prometheus does."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from streaming.observe.distribution import LONG_S, SHORT_S, Distribution


def test_a_value_at_a_bound_lies_below_it() -> None:
    spread = Distribution((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1):
        spread.add(value)

    assert spread.buckets() == [(1.0, 2), (2.0, 4), (math.inf, 5)]
    assert (spread.count, spread.sum) == (5, 6.6)


def test_of_nothing_there_is_nothing() -> None:
    assert Distribution(SHORT_S).buckets()[-1] == (math.inf, 0)


@given(st.lists(st.floats(0, 1e6)), st.sampled_from([SHORT_S, LONG_S]))
def test_each_bucket_has_all_that_is_not_larger(values: list[float], bounds: tuple[float, ...]) -> None:
    spread = Distribution(bounds)
    for value in values:
        spread.add(value)

    assert spread.buckets() == [(bound, sum(value <= bound for value in values)) for bound in (*bounds, math.inf)]
    assert list(bounds) == sorted(set(bounds))
