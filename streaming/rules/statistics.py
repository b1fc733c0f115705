"""Durations in a few numbers, and the hour or day that a time belongs to.

A quantile is found by nearest rank: the smallest value that at least so many percent of all values do not exceed
(Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50, 1996, definition 1). So it
is always a value that was measured.

Owns:   `summary`, `nearest_rank`, `bucket_of`.
Never:  chooses which tasks count, or reads them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Summary:
    """Durations in seconds; None where there are none.

    Attributes:
        count: how many.
        mean_s: their mean.
        p50_s: half of them are not longer.
        p95_s: 95 of 100 are not longer.
        p99_s: 99 of 100 are not longer.
    """

    count: int
    mean_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None


class Bucket(StrEnum):
    """How long a time times are grouped by."""

    HOUR = "hour"
    DAY = "day"


#: How many characters of a time say which bucket it is in, and what follows at the beginning of the bucket.
_BUCKETS = {Bucket.HOUR: (13, ":00:00.000000Z"), Bucket.DAY: (10, "T00:00:00.000000Z")}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def summary(durations: Iterable[float]) -> Summary:
    """Summarise durations.

    Args:
        durations: in seconds, in any order.

    Returns:
        Their number, mean and quantiles.
    """
    ordered = sorted(durations)
    if not ordered:
        return Summary(0)
    mean_s = math.fsum(ordered) / len(ordered)
    return Summary(len(ordered), mean_s, *(nearest_rank(ordered, percent) for percent in (50, 95, 99)))


def nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """The quantile of values.

    Args:
        ordered: the values, at least one, the smallest first.
        percent: how many of a hundred do not exceed it, 0 to 100.

    Returns:
        One of the values.
    """
    rank = -(-percent * len(ordered) // 100)  # rounded up, without a float on the way
    return ordered[max(rank, 1) - 1]


def bucket_of(time: str, bucket: Bucket) -> str:
    """The beginning of the hour or day that a time is in.

    Args:
        time: RFC 3339 in UTC with a Z.
        bucket: which of the two.

    Returns:
        A time in the same form, so that it can be compared and sorted as text.

    Raises:
        ValueError: the time has another form.
    """
    if not _TIME.fullmatch(time):
        raise ValueError(f"{time[:64]!r} is no RFC 3339 time in UTC")
    length, start = _BUCKETS[bucket]
    return time[:length] + start
