"""Durations in a few numbers, and times in hours and days."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.statistics import Bucket, Summary, bucket_of, nearest_rank, summary

durations = st.lists(st.floats(0, 1e9), min_size=1, max_size=300)


def test_of_nothing_there_is_nothing_to_say() -> None:
    assert summary([]) == Summary(0)


def test_one_duration_is_all_there_is() -> None:
    assert summary([2.5]) == Summary(1, 2.5, 2.5, 2.5, 2.5)


def test_a_summary_of_a_hundred_in_any_order() -> None:
    assert summary([float(number) for number in range(100, 0, -1)]) == Summary(100, 50.5, 50.0, 95.0, 99.0)


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 15), (5, 15), (20, 15), (21, 20), (30, 20), (40, 20), (50, 35), (90, 50), (100, 50)]
)
def test_the_nearest_rank_is_a_value_that_was_measured(percent: int, value: int) -> None:
    assert nearest_rank([15, 20, 35, 40, 50], percent) == value


def test_a_rank_is_exact_where_a_float_would_be_one_off() -> None:
    assert math.ceil(0.07 * 100) == 8
    assert nearest_rank([float(number) for number in range(1, 101)], 7) == 7


@given(durations, st.integers(1, 100))
def test_so_many_percent_are_at_most_the_quantile_and_fewer_are_below_it(values: list[float], percent: int) -> None:
    found = nearest_rank(sorted(values), percent)

    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


@given(durations)
def test_the_numbers_of_a_summary_are_in_order_and_within_what_was_measured(values: list[float]) -> None:
    found = summary(values)

    assert found.count == len(values)
    assert found.mean_s is not None
    assert min(values) * 0.999999 <= found.mean_s <= max(values) * 1.000001
    quantiles = [found.p50_s, found.p95_s, found.p99_s]
    assert quantiles == sorted(quantiles, key=lambda value: value or 0.0)
    assert set(quantiles) <= set(values)


@pytest.mark.parametrize(
    ("bucket", "start"),
    [(Bucket.HOUR, "2026-11-01T23:00:00.000000Z"), (Bucket.DAY, "2026-11-01T00:00:00.000000Z")],
)
@pytest.mark.parametrize("rest", ["00:00.000000Z", "59:59.999999Z"])
def test_a_time_belongs_to_its_hour_and_its_day(bucket: Bucket, start: str, rest: str) -> None:
    assert bucket_of(f"2026-11-01T23:{rest}", bucket) == start


@pytest.mark.parametrize(
    "time", ["", "2026-11-01", "2026-11-01T23:00:00+02:00", "2026-11-01T23:00:00.000000Z\n", "2026-11-01T23:00Z"]
)
def test_a_time_in_another_form_could_be_in_another_hour(time: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        bucket_of(time, Bucket.HOUR)
