"""Which deadlines a task has, in which words they end it, and when its readers are warned."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.records import Policy, TaskError, TaskStatus
from streaming.rules.deadlines import (
    EXPIRED_CODES,
    Deadlines,
    Limit,
    deadlines_of,
    expired,
    for_child,
    warning_data,
)
from streaming.rules.lifecycle import LIVE

ALL = Policy(queue_timeout_s=10, heartbeat_timeout_s=30, total_timeout_s=1000)
TIMEOUT_S = 100.0


def deadlines(
    status: TaskStatus = TaskStatus.RUNNING, policy: Policy = ALL, *, since: float = 50.0, warning_s: float = 60.0
) -> Deadlines:
    return deadlines_of(status, policy, TIMEOUT_S, created_at=0.0, since=since, warning_s=warning_s)


def moments(found: Deadlines) -> dict[Limit, float]:
    return {limit: found.at(limit) for limit in Limit if found.at(limit) < math.inf}


# -- which there are ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (TaskStatus.PENDING, {Limit.QUEUE: 60, Limit.TOTAL: 1000}),
        (TaskStatus.RETRYING, {Limit.QUEUE: 60, Limit.TOTAL: 1000}),
        (TaskStatus.RUNNING, {Limit.RUN: 150, Limit.HEARTBEAT: 80, Limit.TOTAL: 1000}),
    ],
)
def test_a_status_has_its_deadlines(status: TaskStatus, expected: dict[Limit, float]) -> None:
    assert moments(deadlines(status)) == expected


def test_every_live_status_has_deadlines_and_no_other() -> None:
    for status in TaskStatus:
        if status in LIVE:
            assert deadlines(status).at(Limit.TOTAL) == 1000
        else:
            with pytest.raises(KeyError):
                deadlines(status)


def test_a_task_that_asks_for_none_has_only_the_one_of_its_run() -> None:
    assert moments(deadlines(TaskStatus.PENDING, Policy())) == {}
    assert moments(deadlines(TaskStatus.RUNNING, Policy())) == {Limit.RUN: 150}


def test_the_first_deadline_ends_the_task() -> None:
    due = deadlines().next_due()

    assert (due.limit, due.at, due.seconds) == (Limit.HEARTBEAT, 80, 30)


def test_who_has_no_deadline_is_never_due_and_never_warned() -> None:
    found = deadlines(TaskStatus.PENDING, Policy())

    assert (found.next_due().at, found.next_warning().warn_at, found.ends_at) == (math.inf, math.inf, math.inf)


def test_of_two_deadlines_at_the_same_time_the_run_names_its_own() -> None:
    found = deadlines(policy=Policy(total_timeout_s=150))

    assert found.next_due().limit is Limit.RUN


def test_a_retry_waits_for_its_turn_from_the_end_of_its_pause_on() -> None:
    assert deadlines(TaskStatus.RETRYING, since=500.0).at(Limit.QUEUE) == 510


# -- which of them move ------------------------------------------------------------------------------------------------


def test_each_word_of_a_task_begins_its_silence_anew() -> None:
    found = deadlines()
    found.heard(75.0)

    assert found.at(Limit.HEARTBEAT) == 105
    assert moments(found) == {Limit.RUN: 150, Limit.HEARTBEAT: 105, Limit.TOTAL: 1000}


def test_a_task_that_waits_is_not_silent() -> None:
    found = deadlines(TaskStatus.PENDING)
    found.heard(75.0)

    assert moments(found) == {Limit.QUEUE: 60, Limit.TOTAL: 1000}


@pytest.mark.parametrize(("seconds", "at"), [(200.0, 250.0), (20.0, 70.0)])
def test_a_deadline_can_be_moved_later_and_earlier(seconds: float, at: float) -> None:
    found = deadlines()
    found.move(Limit.RUN, seconds)

    assert found.at(Limit.RUN) == at


def test_a_deadline_can_be_given_to_a_task_that_had_none_and_be_taken_away() -> None:
    found = deadlines(policy=Policy())
    found.move(Limit.TOTAL, 70.0)
    assert found.at(Limit.TOTAL) == 70
    found.move(Limit.TOTAL, None)
    assert found.at(Limit.TOTAL) == math.inf


def test_a_limit_that_does_not_count_yet_is_left_to_the_record() -> None:
    found = deadlines(TaskStatus.PENDING)
    found.move(Limit.RUN, 200.0)

    assert found.at(Limit.RUN) == math.inf


def test_a_handler_sees_when_its_time_is_over_whatever_it_says() -> None:
    assert deadlines().ends_at == 150
    assert deadlines(policy=Policy(heartbeat_timeout_s=1, total_timeout_s=140)).ends_at == 140


@pytest.mark.parametrize(
    ("own_s", "remaining_s", "seconds"),
    [(None, math.inf, None), (None, 40.0, 40.0), (30.0, math.inf, 30.0), (30.0, 40.0, 30.0), (50.0, 40.0, 40.0)],
)
def test_a_child_has_no_more_time_than_its_parent(
    own_s: float | None, remaining_s: float, seconds: float | None
) -> None:
    assert for_child(own_s, remaining_s) == seconds


# -- warnings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warning_s", "warn_at"),
    [(5.0, 145.0), (20.0, 130.0), (60.0, 130.0)],  # a fifth of 100 s is 20 s
)
def test_readers_are_warned_in_time_and_never_for_more_than_a_fifth(warning_s: float, warn_at: float) -> None:
    due = deadlines(policy=Policy(), warning_s=warning_s).next_warning()

    assert (due.limit, due.warn_at) == (Limit.RUN, warn_at)


def test_each_deadline_is_warned_of_once_in_the_order_of_the_warnings() -> None:
    found, told = deadlines(), []
    while (due := found.next_warning()).warn_at < math.inf:
        told.append((due.limit, due.warn_at))
        due.warned = True

    assert told == [(Limit.HEARTBEAT, 74.0), (Limit.RUN, 130.0), (Limit.TOTAL, 940.0)]


def test_a_moved_deadline_is_warned_of_again() -> None:
    found = deadlines(policy=Policy())
    found.next_warning().warned = True
    found.move(Limit.RUN, 200.0)

    assert found.next_warning().warn_at == 210


def test_each_silence_is_warned_of_once() -> None:
    found = deadlines(policy=Policy(heartbeat_timeout_s=30))
    found.next_warning().warned = True
    assert found.next_warning().limit is Limit.RUN
    found.heard(75.0)

    due = found.next_warning()
    assert (due.limit, due.warn_at) == (Limit.HEARTBEAT, 99.0)


@pytest.mark.parametrize(("now", "remaining_s"), [(74.0, 6.0), (73.99951, 6.0), (74.12345, 5.877), (90.0, 0.0)])
def test_a_warning_says_which_deadline_when_and_how_long(now: float, remaining_s: float) -> None:
    at = "2026-11-01T12:00:00.000000Z"

    assert warning_data(deadlines().next_due(), at=at, now=now) == {
        "deadline": "heartbeat_timeout_s",
        "at": at,
        "remaining_s": remaining_s,
    }


seconds = st.none() | st.floats(0.001, 1e7)


@given(
    st.sampled_from(sorted(LIVE)),
    st.builds(Policy, queue_timeout_s=seconds, heartbeat_timeout_s=seconds, total_timeout_s=seconds),
    st.floats(0, 1e6),
    st.floats(0.001, 1e5),
)
def test_a_warning_comes_before_its_deadline_and_within_the_last_fifth(
    status: TaskStatus, policy: Policy, since: float, warning_s: float
) -> None:
    found = deadlines(status, policy, since=since, warning_s=warning_s)
    while (due := found.next_warning()).warn_at < math.inf:
        assert due.at - due.warn_at <= min(warning_s, due.seconds / 5) * 1.001 + 1e-6
        assert due.warn_at <= due.at
        assert found.next_due().at <= due.at
        due.warned = True


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "seconds", "error"),
    [
        (Limit.RUN, 60.0, TaskError("timed_out", "Ran longer than its timeout_s of 60 s.")),
        (Limit.QUEUE, 0.5, TaskError("queue_timeout", "Waited longer than its queue_timeout_s of 0.5 s.")),
        (
            Limit.HEARTBEAT,
            2_592_000.0,
            TaskError("heartbeat_timeout", "Was silent longer than its heartbeat_timeout_s of 2592000 s."),
        ),
        (Limit.TOTAL, 7, TaskError("total_timeout", "Took longer than its total_timeout_s of 7 s.")),
    ],
)
def test_a_task_that_is_over_a_limit_says_over_which(limit: Limit, seconds: float, error: TaskError) -> None:
    assert expired(limit, seconds) == error
    assert EXPIRED_CODES[limit] == error.code


def test_every_limit_is_a_field_of_a_start() -> None:
    fields = {*Policy.__dataclass_fields__, "timeout_s"}

    assert {limit.value for limit in Limit} <= fields
