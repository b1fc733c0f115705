"""Times of others become times of ours, or are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.events import rfc3339
from streaming.rules.times import earlier, midnight, read_length, read_time

OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=OFFSETS)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-01T12:00:00Z", "2026-11-01T12:00:00.000000Z"),
        ("2026-11-01t12:00:00.5z", "2026-11-01T12:00:00.500000Z"),
        ("2026-11-01T12:00:00.123456789Z", "2026-11-01T12:00:00.123456Z"),
        ("2026-11-01T00:30:00+01:00", "2026-10-31T23:30:00.000000Z"),
        ("2026-11-01T12:00:00-05:30", "2026-11-01T17:30:00.000000Z"),
        ("2026-11-01T12:00:00-00:00", "2026-11-01T12:00:00.000000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
        ("0999-01-01T00:00:00Z", "0999-01-01T00:00:00.000000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
    ],
)
def test_a_time_is_read_into_our_form(text: str, time: str) -> None:
    assert read_time(text) == time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-01",
        "2026-11-01T12:00:00",
        "2026-11-01 12:00:00Z",
        "2026-11-01T12:00:00 02:00",
        "2026-11-01T12:00:00+0200",
        "2026-11-01T12:00:00+24:00",
        "2026-11-01T12:00:00+01:60",
        "2026-11-01T12:00:00.Z",
        "2026-11-01T12:00:00Z\n",
        "2026-11-01T24:00:00Z",
        "2026-11-01T12:60:00Z",
        "2026-11-01T12:00:61Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:60Z",
        "٢٠٢٦-11-01T12:00:00Z",
        "2026-11-01T12:00:00." + "0" * 19 + "Z",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_time(text)


@given(MOMENTS)
def test_the_offset_does_not_matter(moment: datetime) -> None:
    expected = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    assert read_time(moment.isoformat()) == expected
    assert read_time(expected) == expected


@given(MOMENTS, MOMENTS)
def test_texts_compare_like_times(one: datetime, other: datetime) -> None:
    assert (read_time(one.isoformat()) < read_time(other.isoformat())) is (one < other)


@given(st.integers(0, 4_000_000_000), st.integers(0, 4_000_000_000))
def test_a_time_is_so_many_seconds_earlier(second: int, before: int) -> None:
    assert earlier(rfc3339(second + before), before) == rfc3339(second)


def test_nothing_is_earlier_than_the_first_year() -> None:
    assert earlier("2026-11-01T12:00:00Z", 1e11) == "0001-01-01T00:00:00.000000Z"
    assert earlier("2026-11-01T12:00:00Z", 1e300) == "0001-01-01T00:00:00.000000Z"


def test_a_day_begins_at_midnight_in_utc() -> None:
    assert midnight("2026-11-01T23:59:59.999999Z") == "2026-11-01T00:00:00.000000Z"
    assert midnight("2026-11-01T00:30:00+01:00") == "2026-10-31T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("90s", 90), ("15m", 900), ("24h", 86_400), ("365d", 31_536_000)]
)
def test_a_length_is_a_whole_number_with_a_unit(text: str, seconds: float) -> None:
    assert read_length(text) == seconds


@pytest.mark.parametrize("text", ["", "0d", "-1d", "1.5h", "1", "d", "1w", "1 d", "1d ", "1d\n", "٣h", "1" * 10 + "d"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="like 15m, 24h or 7d"):
        read_length(text)
