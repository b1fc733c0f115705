"""What tasks have done, in a few numbers: in all, by type, and by the hour or day in which they ended.

- A task has waited from its creation to the beginning of its last run, or to its end if it never ran; it has run from
  there to its end. So pauses between attempts are waiting.
- If it ended in such a pause, its last run was over when the pause began, and the pause is waiting, too.
- It was repeated if it had more than one attempt, or repeats another task.
- Shares are of the tasks that have ended; the throughput is counted over the time that was looked at.

A quantile is found by nearest rank: the smallest value that at least so many percent of all values do not exceed
(Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50, 1996, definition 1). So it
is always a value that was measured.

Owns:   `statistics`, `summary`, `nearest_rank`, `bucket_of`; which windows can be asked for.
Never:  chooses which tasks count, or reads them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from streaming.errors import BadFilter
from streaming.events import rfc3339, seconds_of
from streaming.records import TaskStatus
from streaming.rules.filters import EVERYTHING, Filter
from streaming.rules.times import DAY_S, read_length


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

    def as_json(self) -> dict[str, Any]:
        """The numbers as they go over the wire."""
        numbers = {"mean_s": self.mean_s, "p50_s": self.p50_s, "p95_s": self.p95_s, "p99_s": self.p99_s}
        rounded = {name: None if value is None else round(value, 6) for name, value in numbers.items()}
        return {"count": self.count, **rounded}


class Bucket(StrEnum):
    """How long a time times are grouped by."""

    HOUR = "hour"
    DAY = "day"


#: How many characters of a time say which bucket it is in, and what follows at the beginning of the bucket.
_BUCKETS = {Bucket.HOUR: (13, ":00:00.000000Z"), Bucket.DAY: (10, "T00:00:00.000000Z")}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


#: The longest window, in days.
WINDOW_DAYS_MAX = 90


def read_window(text: str) -> float:
    """How long a window is, in seconds: ``15m``, ``24h`` or ``7d``.

    Raises:
        BadFilter: it is no such length, or too long.
    """
    try:
        seconds = read_length(text)
    except ValueError:
        seconds = math.inf
    if seconds > WINDOW_DAYS_MAX * DAY_S:
        raise BadFilter(
            f"window must be a number of seconds, minutes, hours or days like 15m, 24h or 7d, "
            f"at most {WINDOW_DAYS_MAX}d, not {text[:64]!r}."
        )
    return seconds


class Ended(NamedTuple):
    """A task that has ended, as far as it counts."""

    type: str
    status: str
    finished_at: str
    waited_s: float
    ran_s: float | None
    repeated: bool


def ended(
    type: str,
    status: str,
    created_at: str,
    started_at: str | None,
    finished_at: str,
    *,
    repeated: bool,
    paused_at: str | None = None,
) -> Ended:
    """A task that has ended; times are RFC 3339.

    Args:
        type: of the task.
        status: the one it ended with.
        created_at: when it was created.
        started_at: when its last run began; None if it never ran.
        finished_at: when it ended, in UTC with a Z.
        repeated: whether it had more than one attempt, or repeats another task.
        paused_at: when the pause between two attempts began in which it ended; None if it ended in none.

    Raises:
        ValueError: a time is none.
    """
    finished_s = seconds_of(_in_utc(finished_at))
    started_s = finished_s if started_at is None else seconds_of(started_at)
    stopped_s = finished_s if paused_at is None else seconds_of(paused_at)
    # A clock that was put back has not moved.
    waited_s = max(0.0, started_s - seconds_of(created_at)) + max(0.0, finished_s - stopped_s)
    ran_s = None if started_at is None else max(0.0, stopped_s - started_s)
    return Ended(type, status, finished_at, waited_s, ran_s, repeated)


@dataclass(frozen=True, slots=True)
class StatisticsQuery:
    """Which tasks count.

    Attributes:
        since: they ended then or later, RFC 3339.
        until: and before this time.
        types: of these types; empty means all.
        by: also by hour or day; None not.
        tasks_max: the newest so many count.
        within: and only these.
    """

    since: str
    until: str
    types: tuple[str, ...] = ()
    by: Bucket | None = None
    tasks_max: int = 100_000
    within: Filter = EVERYTHING


@dataclass(frozen=True, slots=True)
class Figures:
    """What some tasks have done.

    Attributes:
        tasks: how many have ended.
        by_status: how many with which status.
        per_minute: how many ended in a minute, on average.
        success_share: so many of them are completed, from 0 to 1; None without tasks.
        retry_share: so many were repeated, or repeat another one.
        waiting: how long they waited.
        running: how long their last runs took.
    """

    tasks: int
    by_status: Mapping[str, int]
    per_minute: float
    success_share: float | None
    retry_share: float | None
    waiting: Summary
    running: Summary

    def as_json(self) -> dict[str, Any]:
        """The figures as they go over the wire."""
        return {
            "tasks": self.tasks,
            "by_status": dict(self.by_status),
            "per_minute": self.per_minute,
            "success_share": self.success_share,
            "retry_share": self.retry_share,
            "waiting": self.waiting.as_json(),
            "running": self.running.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Statistics:
    """The answer to a `StatisticsQuery`.

    Attributes:
        since: from when on tasks were counted; later than asked for, if there were too many.
        until: up to when.
        sampled: there were too many: the oldest do not count.
        total: of all.
        by_type: of each type, by name.
        by_time: of each hour or day in which a task has ended, by its beginning, oldest first.
    """

    since: str
    until: str
    sampled: bool
    total: Figures
    by_type: Mapping[str, Figures]
    by_time: Mapping[str, Figures]

    def as_json(self) -> dict[str, Any]:
        """The statistics as they go over the wire."""
        return {
            "since": self.since,
            "until": self.until,
            "sampled": self.sampled,
            "total": self.total.as_json(),
            "types": [{"type": name, **figures.as_json()} for name, figures in self.by_type.items()],
            "buckets": [{"start": start, **figures.as_json()} for start, figures in self.by_time.items()],
        }


def statistics(newest: Sequence[Ended], query: StatisticsQuery) -> Statistics:
    """Work out the figures.

    Args:
        newest: the tasks that the query means, newest first: ``tasks_max``, and one more if there are more.
        query: which these are.
    """
    tasks, sampled = newest[: query.tasks_max], len(newest) > query.tasks_max
    since = tasks[-1].finished_at if sampled else query.since
    by_type = _grouped(tasks, lambda task: task.type)
    by_time = {} if query.by is None else _grouped(tasks, _bucket(query.by))
    return Statistics(
        since,
        query.until,
        sampled,
        _figures(tasks, since, query.until),
        {name: _figures(group, since, query.until) for name, group in by_type.items()},
        {start: _figures(group, *_overlap(start, query.by, since, query.until)) for start, group in by_time.items()},
    )


def _grouped(tasks: Iterable[Ended], key: Callable[[Ended], str]) -> dict[str, list[Ended]]:
    groups: dict[str, list[Ended]] = {}
    for task in tasks:
        groups.setdefault(key(task), []).append(task)
    return dict(sorted(groups.items()))


def _bucket(by: Bucket) -> Callable[[Ended], str]:
    return lambda task: bucket_of(task.finished_at, by)


def _overlap(start: str, by: Bucket | None, since: str, until: str) -> tuple[str, str]:
    """The part of a bucket that was looked at."""
    length_s = 3600 if by is Bucket.HOUR else 86_400
    end = rfc3339(seconds_of(start) + length_s)
    return max(start, since), min(end, until)


def _figures(tasks: Sequence[Ended], since: str, until: str) -> Figures:
    looked_s = max(seconds_of(until) - seconds_of(since), 1.0)
    completed = sum(task.status == TaskStatus.COMPLETED for task in tasks)
    repeated = sum(task.repeated for task in tasks)
    return Figures(
        tasks=len(tasks),
        by_status=dict(sorted(Counter(task.status for task in tasks).items())),
        per_minute=round(60 * len(tasks) / looked_s, 6),
        success_share=_share(completed, len(tasks)),
        retry_share=_share(repeated, len(tasks)),
        waiting=summary(task.waited_s for task in tasks),
        running=summary(task.ran_s for task in tasks if task.ran_s is not None),
    )


def _share(some: int, all_of_them: int) -> float | None:
    return round(some / all_of_them, 6) if all_of_them else None


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
    length, start = _BUCKETS[bucket]
    return _in_utc(time)[:length] + start


def _in_utc(time: str) -> str:
    """A time that can be cut and compared as text."""
    if not _TIME.fullmatch(time):
        raise ValueError(f"{time[:64]!r} is no RFC 3339 time in UTC")
    return time
