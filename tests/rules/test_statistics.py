"""Durations in a few numbers, and times in hours and days."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import BadFilter
from streaming.events import rfc3339
from streaming.rules.statistics import (
    Bucket,
    Ended,
    Figures,
    StatisticsQuery,
    Summary,
    bucket_of,
    ended,
    nearest_rank,
    read_window,
    statistics,
    summary,
)

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


# -- what tasks have done ----------------------------------------------------------------------------------------------


def task(
    minute: int, *, type: str = "work", status: str = "completed", repeated: bool = False, ran: bool = True
) -> Ended:
    """A task that ended at that minute, after 10 s of waiting and 5 s of running, if it ran."""
    end_s = 1_000_000_000.0 + 60 * minute
    times = rfc3339(end_s - 15), rfc3339(end_s - 5) if ran else None, rfc3339(end_s)
    return ended(type, status, *times, repeated=repeated)


def question(minutes: int = 60, **fields: Any) -> StatisticsQuery:
    return StatisticsQuery(rfc3339(1_000_000_000.0), rfc3339(1_000_000_000.0 + 60 * minutes), **fields)


def test_a_task_has_waited_until_its_last_run_and_then_run() -> None:
    assert task(1)[3:] == (10.0, 5.0, False)


def test_a_task_that_never_ran_has_waited_until_its_end() -> None:
    assert task(1, ran=False)[3:] == (15.0, None, False)


def test_a_task_that_ended_in_a_pause_has_waited_from_the_beginning_of_the_pause() -> None:
    created, started, paused, finished = map(rfc3339, (1000, 1010, 1015, 1100))

    found = ended("t", "cancelled", created, started, finished, paused_at=paused, repeated=True)

    assert found[3:] == (10.0 + 85.0, 5.0, True)


def test_a_clock_that_was_put_back_has_not_moved() -> None:
    late, early = rfc3339(1000), rfc3339(900)

    assert ended("t", "failed", late, early, early, repeated=False)[3:5] == (0.0, 0.0)
    assert ended("t", "failed", early, late, early, repeated=False)[3:5] == (100.0, 0.0)
    assert ended("t", "failed", early, early, early, paused_at=late, repeated=True)[3:5] == (0.0, 100.0)


@pytest.mark.parametrize("time", ["yesterday", "1970-01-01T00:00:00+00:00", "1970-13-01T00:00:00.000000Z"])
def test_what_has_no_time_of_ours_does_not_count(time: str) -> None:
    with pytest.raises(ValueError):
        ended("t", "failed", rfc3339(0), None, time, repeated=False)


def test_what_began_at_no_time_does_not_count() -> None:
    with pytest.raises(ValueError):
        ended("t", "failed", "yesterday", None, rfc3339(0), repeated=False)


def test_figures_in_all_and_by_type() -> None:
    found = [
        task(50, type="b", status="failed", repeated=True),
        task(40, type="a"),
        task(30, type="b"),
        task(20, type="a", status="cancelled", ran=False),
    ]

    answer = statistics(found, question())

    assert (answer.since, answer.until, answer.sampled) == (question().since, question().until, False)
    assert answer.total == Figures(
        tasks=4,
        by_status={"cancelled": 1, "completed": 2, "failed": 1},
        per_minute=round(4 / 60, 6),
        success_share=0.5,
        retry_share=0.25,
        waiting=summary([10.0, 10.0, 10.0, 15.0]),
        running=summary([5.0, 5.0, 5.0]),
    )
    assert [*answer.by_type] == ["a", "b"]
    assert answer.by_type["b"].by_status == {"completed": 1, "failed": 1}
    assert answer.by_time == {}


def test_of_no_tasks_there_is_no_share() -> None:
    answer = statistics([], question(by=Bucket.HOUR))

    assert (answer.total.tasks, answer.total.success_share, answer.total.retry_share) == (0, None, None)
    assert answer.total.running == Summary(0)
    assert (answer.by_type, answer.by_time) == ({}, {})


@pytest.mark.parametrize(("by", "starts"), [(Bucket.HOUR, ["01", "02"]), (Bucket.DAY, ["00"])])
def test_a_bucket_is_as_long_as_the_part_of_it_that_was_looked_at(by: Bucket, starts: list[str]) -> None:
    """The first and the last hour of a window are rarely whole."""
    assert question().since == "2001-09-09T01:46:40.000000Z"
    found = [task(43), task(33), task(13)]  # the next hour begins after 13 minutes and 20 seconds

    answer = statistics(found, question(by=by))

    assert [*answer.by_time] == [f"2001-09-09T{hour}:00:00.000000Z" for hour in starts]
    assert sum(each.tasks for each in answer.by_time.values()) == 3
    if by is Bucket.HOUR:
        first, second = answer.by_time.values()
        assert first.per_minute == round(1 / (13 + 20 / 60), 6)
        assert second.per_minute == round(2 / (60 - 13 - 20 / 60), 6)


def test_where_there_are_too_many_the_newest_count_and_the_window_is_shorter() -> None:
    answer = statistics([task(minute) for minute in (55, 50, 45, 40)], question(tasks_max=3))

    assert answer.sampled
    assert answer.since == rfc3339(1_000_000_000.0 + 60 * 45)
    assert (answer.total.tasks, answer.total.per_minute) == (3, 0.2)


def test_what_goes_over_the_wire_has_rounded_numbers_and_names() -> None:
    answer = statistics([task(50), task(40, ran=False)], question(by=Bucket.DAY)).as_json()

    assert answer["types"][0]["type"] == "work"
    assert answer["buckets"][0]["start"] == "2001-09-09T00:00:00.000000Z"
    assert answer["total"] == {
        "tasks": 2,
        "by_status": {"completed": 2},
        "per_minute": 0.033333,
        "success_share": 1.0,
        "retry_share": 0.0,
        "waiting": {"count": 2, "mean_s": 12.5, "p50_s": 10.0, "p95_s": 15.0, "p99_s": 15.0},
        "running": {"count": 1, "mean_s": 5.0, "p50_s": 5.0, "p95_s": 5.0, "p99_s": 5.0},
    }
    assert Summary(0).as_json() == {"count": 0, "mean_s": None, "p50_s": None, "p95_s": None, "p99_s": None}


@given(st.lists(st.tuples(st.integers(1, 59), st.sampled_from("ab"), st.booleans()), max_size=30))
def test_types_and_buckets_are_parts_of_the_whole(tasks: list[tuple[int, str, bool]]) -> None:
    found = [task(minute, type=type, repeated=again) for minute, type, again in sorted(tasks, reverse=True)]

    answer = statistics(found, question(by=Bucket.HOUR))

    for parts in (answer.by_type, answer.by_time):
        assert sum(each.tasks for each in parts.values()) == len(tasks) == answer.total.tasks


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1m", 60), ("15m", 900), ("24h", 86_400), ("7d", 604_800), ("90d", 7_776_000), ("2160h", 7_776_000)],
)
def test_a_window_is_a_number_with_a_unit(text: str, seconds: int) -> None:
    assert read_window(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0m", "h", "1", "-1h", "1.5h", "91d", "2161h", "1 h", "24H", "٣h", "9" * 30 + "d"]
)
def test_a_window_that_is_none_is_refused_with_the_possible_ones(text: str) -> None:
    with pytest.raises(BadFilter) as refused:
        read_window(text)

    assert "15m, 24h or 7d, at most 90d" in refused.value.detail
