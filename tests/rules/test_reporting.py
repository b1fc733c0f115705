"""What a handler or a worker may say: a whole report or none of it, and every mistake named by its place."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import EventTooLarge, InvalidEvent, InvalidParams, ReportTooLarge, StatusConflict
from streaming.records import PLAIN, CancelReceipt, Policy, Progress, Record, Steps, TaskError, TaskStatus
from streaming.rules.deadlines import Due, Limit
from streaming.rules.lifecycle import Transition
from streaming.rules.reporting import (
    CLIENT_SEQ_MAX,
    ERRORS_MAX,
    Report,
    ReportedEvent,
    Taken,
    fail_after_s,
    outcome_of,
    payload_from,
    progress_from,
    progress_of,
    read_report,
    stale_after_s,
    steps_from,
)

RECORD = Record("a" * 32, "external", TaskStatus.RUNNING, {}, 60.0, "then", "then")
RECEIPT = CancelReceipt("then", "anna", "slow")
ERROR = TaskError("broken", "It is broken.")


def read(report: Report, record: Record = RECORD, **limits: int) -> Taken:
    return read_report(report, record, **{"events_max": 10, "bytes_max": 100, **limits})


def events(*numbers: int | None) -> list[ReportedEvent]:
    return [
        ReportedEvent("tick", {"n": number}, number, place=f"events.{index}.") for index, number in enumerate(numbers)
    ]


def wrong_fields(report: Report, record: Record = RECORD, **limits: int) -> list[str]:
    with pytest.raises(InvalidParams) as caught:
        read(report, record, **limits)
    return [error.field for error in caught.value.errors]


# -- progress, steps, data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "message"), [(0, None), (100, "x" * 1000), (0.5, "")])
def test_progress_is_a_number_from_0_to_100_with_a_message(percent: float, message: str | None) -> None:
    assert progress_from(percent, message) == Progress(float(percent), message)


@pytest.mark.parametrize(
    ("percent", "message"), [(-0.1, None), (100.1, None), (float("nan"), None), (True, None), ("5", None), (5, 5)]
)
def test_anything_else_is_no_progress(percent: object, message: object) -> None:
    with pytest.raises(InvalidEvent):
        progress_from(percent, message)


def test_a_message_is_not_longer_than_it_may_be() -> None:
    with pytest.raises(InvalidEvent):
        progress_from(1, "x" * 1001)


def test_steps_are_counted_up_to_their_total() -> None:
    assert steps_from(0, 1, None) == Steps(0, 1, None)
    assert progress_of(steps_from(1, 4, "b")) == Progress(25.0, "b")


@pytest.mark.parametrize(
    ("completed", "total", "current"),
    [(2, 1, None), (-1, 1, None), (0, 0, None), (True, 1, None), (0, 1.0, None), (0, 1, 1), (0, 1, "x" * 1001)],
)
def test_anything_else_is_no_steps(completed: object, total: object, current: object) -> None:
    with pytest.raises(InvalidEvent):
        steps_from(completed, total, current)


def test_data_has_a_json_form_within_its_bytes() -> None:
    assert payload_from("tick", {"ä": 1}, 8) == '{"ä":1}'
    with pytest.raises(EventTooLarge):
        payload_from("tick", {"ä": 1}, 7)
    with pytest.raises(InvalidEvent):
        payload_from("tick", {1, 2}, 100)


# -- events ------------------------------------------------------------------------------------------------------------


def test_the_events_of_a_report_are_taken_in_its_order() -> None:
    taken = read(Report(events=[*events(None, None), ReportedEvent("tock")]))

    assert taken.events == (("tick", '{"n":null}'), ("tick", '{"n":null}'), ("tock", "{}"))
    assert (taken.client_seq, taken.outcome, taken.progress, taken.steps) == (0, None, None, None)


def test_events_that_were_taken_before_are_left_out() -> None:
    taken = read(Report(events=events(3, 4, 9)), dataclasses.replace(RECORD, client_seq=4))

    assert taken.events == (("tick", '{"n":9}'),)
    assert taken.client_seq == 9


def test_a_report_that_was_taken_before_changes_nothing() -> None:
    taken = read(Report(events=events(3, 4)), dataclasses.replace(RECORD, client_seq=4))

    assert (taken.events, taken.client_seq) == ((), 4)


@given(st.lists(st.integers(1, 50), unique=True).map(sorted), st.lists(st.integers(0, 50)).map(sorted))
def test_however_often_and_in_whichever_parts_events_are_sent_each_is_taken_once(
    numbers: list[int], cuts: list[int]
) -> None:
    """A worker sends what it has not got an answer for, from the first of that on."""
    record, took = RECORD, []
    for cut in [*cuts, 51]:
        taken = read(Report(events=events(*(each for each in numbers if each <= cut))), record, events_max=100)
        took += [int(payload.split(":")[1].strip("}")) for _, payload in taken.events]
        record = dataclasses.replace(record, client_seq=taken.client_seq)

    assert took == numbers


@pytest.mark.parametrize(
    ("numbers", "wrong"),
    [
        ((1, 1), ["events.1.client_seq"]),
        ((5, 2, 6, 6), ["events.1.client_seq", "events.3.client_seq"]),
        ((1, None, 3), ["events.1.client_seq"]),
        ((None, 1), ["events.0.client_seq"]),
        ((0, 1), ["events.0.client_seq"]),
        ((-4,), ["events.0.client_seq"]),
        ((1, CLIENT_SEQ_MAX + 1), ["events.1.client_seq"]),
    ],
)
def test_numbers_grow_and_all_events_have_one_or_none(numbers: tuple[int | None, ...], wrong: list[str]) -> None:
    assert wrong_fields(Report(events=events(*numbers))) == wrong


@pytest.mark.parametrize("type", ["", "a b", "progress", "completed", "stale", "x" * 65, "input"])
def test_a_bad_type_is_named_by_its_place(type: str) -> None:
    report = Report(events=[*events(1, 2), ReportedEvent(type, {}, 3, place="events.2.")])

    assert wrong_fields(report) == ["events.2.type"]


def test_bad_data_is_named_by_its_place() -> None:
    report = Report(events=[*events(1), ReportedEvent("tick", "x" * 100, 2, place="events.1.")])

    assert wrong_fields(report) == ["events.1.data"]


def test_a_bad_event_is_told_even_if_its_number_was_taken_before() -> None:
    report = Report(events=[ReportedEvent("a b", {}, 1, place="events.0.")])

    assert wrong_fields(report, dataclasses.replace(RECORD, client_seq=4)) == ["events.0.type"]


def test_there_are_not_more_events_than_there_may_be() -> None:
    assert read(Report(events=events(*range(1, 11)))).client_seq == 10
    assert wrong_fields(Report(events=events(*range(1, 12)))) == ["events"]


@pytest.mark.parametrize(
    ("report", "too_large"),
    [
        (Report(events=events(*range(1, 12))), True),
        (Report(events=[ReportedEvent("a b"), ReportedEvent("tick", "x" * 99)]), True),
        (Report(status=TaskStatus.COMPLETED, result="x" * 99), True),
        (Report(events=[ReportedEvent("a b", "x" * 98)]), False),
        (Report(progress=(101, "x" * 1000)), False),
    ],
)
def test_a_report_that_is_too_large_is_told_from_one_that_is_wrong(report: Report, too_large: bool) -> None:
    with pytest.raises(InvalidParams) as caught:
        read(report)
    assert isinstance(caught.value, ReportTooLarge) is too_large
    assert caught.value.code == "invalid_params"


@pytest.mark.parametrize(
    ("report", "told", "size"),
    [
        (Report(), 0, 0),
        (Report(status=TaskStatus.COMPLETED, result="x"), 0, 0),
        (Report(events=events(1, 2)), 2, len('{"n":1}{"n":2}')),
        (Report(progress=(1, None)), 1, len('{"percent":1.0,"message":null}')),
        (
            Report(events=events(5), steps=(1, 2, None)),
            2,
            len('{"n":5}{"percent":50.0,"message":null,"steps":{"completed":1,"total":2,"current":null}}'),
        ),
    ],
)
def test_a_report_says_how_much_of_a_log_it_takes(report: Report, told: int, size: int) -> None:
    taken = read(report)
    assert (taken.told, taken.told_bytes) == (told, size)


def test_what_was_taken_before_takes_nothing_of_a_log() -> None:
    taken = read(Report(events=events(1, 2, 3)), dataclasses.replace(RECORD, client_seq=2))
    assert (taken.told, taken.told_bytes) == (1, len('{"n":3}'))


def test_so_many_mistakes_are_named_and_no_more() -> None:
    report = Report(events=[ReportedEvent("a b", {}, place=f"events.{n}.") for n in range(ERRORS_MAX + 5)])

    assert len(wrong_fields(report, events_max=1000)) == ERRORS_MAX


# -- progress and steps ------------------------------------------------------------------------------------------------


def test_progress_and_steps_become_one_event() -> None:
    taken = read(Report(progress=(10, "a"), steps=(1, 2, "b")))

    assert (taken.progress, taken.steps) == (Progress(10.0, "a"), Steps(1, 2, "b"))
    assert taken.progress_data() == {
        "percent": 10.0,
        "message": "a",
        "steps": {"completed": 1, "total": 2, "current": "b"},
    }


def test_steps_alone_are_progress_too() -> None:
    taken = read(Report(steps=(1, 2, "b")))

    assert taken.progress == Progress(50.0, "b")


def test_progress_alone_says_nothing_of_steps() -> None:
    assert read(Report(progress=(10, None))).progress_data() == {"percent": 10.0, "message": None}


def test_bad_progress_and_bad_steps_are_named() -> None:
    assert wrong_fields(Report(progress=(101, None), steps=(2, 1, None))) == ["progress", "steps"]


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [TaskStatus.PENDING, TaskStatus.RUNNING])
@pytest.mark.parametrize(
    ("report", "transition", "error", "result"),
    [
        (Report(status=TaskStatus.COMPLETED, result=[1]), Transition.RETURN, None, [1]),
        (Report(status=TaskStatus.COMPLETED), Transition.RETURN, None, None),
        (Report(status=TaskStatus.FAILED, error=ERROR), Transition.RAISE, ERROR, None),
    ],
)
def test_a_worker_says_how_its_task_ended(
    before: TaskStatus, report: Report, transition: Transition, error: TaskError | None, result: object
) -> None:
    outcome = read(report, dataclasses.replace(RECORD, status=before)).outcome

    assert outcome is not None
    assert (outcome.transition, outcome.error, outcome.result) == (transition, error, result)


def test_running_ends_nothing() -> None:
    assert read(Report(status=TaskStatus.RUNNING)).outcome is None


def test_a_worker_ends_a_task_as_cancelled_once_somebody_has_asked_for_it() -> None:
    report = Report(status=TaskStatus.CANCELLED, result={"half": 1})

    outcome = read(report, dataclasses.replace(RECORD, cancel=RECEIPT)).outcome

    assert outcome is not None
    assert outcome.transition is Transition.CANCEL
    assert outcome.error == TaskError("cancelled", "Cancelled by anna: slow.")
    assert outcome.result == {"half": 1}
    with pytest.raises(StatusConflict, match=r"is running, and cannot become cancelled"):
        read(report)


def test_a_task_that_is_to_be_cancelled_may_still_complete() -> None:
    outcome = read(Report(status=TaskStatus.COMPLETED), dataclasses.replace(RECORD, cancel=RECEIPT)).outcome

    assert outcome is not None
    assert outcome.transition is Transition.RETURN


@pytest.mark.parametrize("before", [TaskStatus.PENDING, TaskStatus.RUNNING])
@pytest.mark.parametrize("status", ["pending", "retrying", "timed_out", "interrupted"])
def test_the_other_statuses_are_not_for_a_worker_to_say(before: TaskStatus, status: str) -> None:
    with pytest.raises(StatusConflict) as caught:
        read(Report(status=TaskStatus(status)), dataclasses.replace(RECORD, status=before))

    assert before.value in caught.value.detail
    assert status in caught.value.detail


@pytest.mark.parametrize(
    ("report", "wrong"),
    [
        ({"status": "failed"}, ["error"]),
        ({"error": ERROR}, ["error"]),
        ({"status": "completed", "error": ERROR}, ["error"]),
        ({"result": 1}, ["result"]),
        ({"status": "running", "result": 1}, ["result"]),
        ({"status": "failed", "error": ERROR, "result": 1}, ["result"]),
        ({"status": "completed", "result": "x" * 100}, ["result"]),
        ({"status": "failed", "error": TaskError("", "")}, ["error.code"]),
        ({"status": "failed", "error": TaskError("a b", "x" * 2001)}, ["error.code", "error.message"]),
        ({"status": "failed", "error": TaskError("x" * 65, "")}, ["error.code"]),
    ],
)
def test_what_does_not_go_together_is_named(report: dict[str, Any], wrong: list[str]) -> None:
    if "status" in report:
        report = {**report, "status": TaskStatus(report["status"])}

    assert wrong_fields(Report(**report)) == wrong


def test_a_report_becomes_no_more_events_than_it_says() -> None:
    assert read(Report(events=events(1, 2))).size == 5


# -- silence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own_s", "stale_s", "fail_s"), [(None, 300, 600), (60.0, 30, 60), (10_000.0, 300, 10_000), (601.0, 300, 601)]
)
def test_the_silence_of_a_worker_is_stale_first_and_then_a_failure(
    own_s: float | None, stale_s: float, fail_s: float
) -> None:
    policy = dataclasses.replace(PLAIN, heartbeat_timeout_s=own_s)

    assert fail_after_s(policy, 600) == fail_s
    assert stale_after_s(policy, 600, 300) == stale_s


def test_a_task_is_stale_before_it_fails_whatever_the_settings_say() -> None:
    assert stale_after_s(Policy(), 100, 300) == 50


@pytest.mark.parametrize(
    ("limit", "transition", "code"),
    [
        (Limit.HEARTBEAT, Transition.RAISE, "heartbeat_lost"),
        (Limit.RUN, Transition.TIMEOUT, "timed_out"),
        (Limit.TOTAL, Transition.TIMEOUT, "total_timeout"),
        (Limit.QUEUE, Transition.TIMEOUT, "queue_timeout"),
    ],
)
def test_a_task_over_a_deadline_ends_as_the_deadline_says(limit: Limit, transition: Transition, code: str) -> None:
    outcome = outcome_of(Due(limit, 0, 60, 1), None)

    assert outcome.error is not None
    assert (outcome.transition, outcome.error.code) == (transition, code)
    assert "60 s" in outcome.error.message


@pytest.mark.parametrize("limit", [Limit.HEARTBEAT, Limit.RUN])
def test_a_task_that_is_to_be_cancelled_is_cancelled_by_whatever_ends_it(limit: Limit) -> None:
    outcome = outcome_of(Due(limit, 0, 60, 1), RECEIPT)

    assert outcome.error is not None
    assert (outcome.transition, outcome.error.code) == (Transition.CANCEL, "cancelled")
    assert outcome.error.message.startswith("Cancelled by anna: slow. ")
    assert "60 s" in outcome.error.message
