"""Which failure is followed by another attempt, and after which pause."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import EventTooLarge, HandlerError, InvalidParams, LogTooLarge, TooManyEvents
from streaming.records import RetryPolicy, TaskError
from streaming.rules.lifecycle import Transition
from streaming.rules.outcome import error_of
from streaming.rules.retry import failure_names, pause_s, should_retry


class UpstreamGone(ConnectionResetError):
    pass


def names_of(raised: BaseException) -> frozenset[str]:
    return failure_names(error_of(raised), raised)


def retried(names: frozenset[str], *on: str, retries_left: int = 1, transition: Transition = Transition.RAISE) -> bool:
    return should_retry(RetryPolicy(retries=3, on=on), retries_left, names, transition)


RAISED = names_of(ValueError("x"))
UNFIT = failure_names(TaskError("invalid_result", "The result has no JSON form."), None)


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_failure_goes_by_its_code_and_by_every_class_of_its_exception() -> None:
    assert names_of(UpstreamGone("gone")) == {
        "handler_error",
        "UpstreamGone",
        "ConnectionResetError",
        "ConnectionError",
        "OSError",
        "Exception",
    }


def test_a_failure_with_a_code_of_its_own_goes_by_that() -> None:
    assert names_of(HandlerError("upstream_away", "Gone.")) >= {"upstream_away", "HandlerError", "StreamingError"}


def test_a_failure_that_nothing_was_raised_for_goes_by_its_code_alone() -> None:
    assert failure_names(TaskError("timed_out", "Too long."), None) == {"timed_out"}


def test_a_group_goes_by_its_own_classes_and_not_by_those_that_it_holds() -> None:
    names = names_of(ExceptionGroup("two", [ValueError("a"), OSError("b")]))

    assert "ExceptionGroup" in names
    assert "ValueError" not in names


# -- whether -----------------------------------------------------------------------------------------------------------


def test_without_a_list_whatever_a_handler_raises_is_retried() -> None:
    assert retried(RAISED)
    assert retried(names_of(HandlerError("upstream_away", "Gone.")))
    assert retried(names_of(BaseExceptionGroup("one", [KeyboardInterrupt()])))


def test_without_a_list_what_another_attempt_would_not_change_is_not_retried() -> None:
    assert not retried(UNFIT)
    assert not retried(names_of(EventTooLarge("Too large.")))
    assert not retried(names_of(TooManyEvents("Too many.")))
    assert not retried(names_of(LogTooLarge("Too large.")))
    assert not retried(names_of(InvalidParams("They no longer fit.")))
    assert not retried(names_of(asyncio.CancelledError()))


@pytest.mark.parametrize("name", ["handler_error", "UpstreamGone", "OSError", "Exception"])
def test_a_list_names_a_code_or_a_class_or_what_that_derives_from(name: str) -> None:
    assert retried(names_of(UpstreamGone("gone")), "something_else", name)


def test_what_a_list_does_not_name_is_not_retried() -> None:
    assert not retried(RAISED, "OSError", "timed_out")


def test_a_list_can_name_what_is_not_retried_otherwise() -> None:
    assert retried(UNFIT, "invalid_result")


@pytest.mark.parametrize("code", ["timed_out", "heartbeat_timeout"])
def test_a_timeout_is_retried_only_where_it_is_listed(code: str) -> None:
    names = failure_names(TaskError(code, "Too long."), None)

    assert not retried(names, transition=Transition.TIMEOUT)
    assert not retried(names, "Exception", transition=Transition.TIMEOUT)
    assert retried(names, code, transition=Transition.TIMEOUT)


def test_a_timeout_is_not_retried_for_what_its_cleanup_raised() -> None:
    names = failure_names(TaskError("timed_out", "Too long."), ValueError("in the cleanup"))

    assert not retried(names, "ValueError", transition=Transition.TIMEOUT)


@pytest.mark.parametrize("code", ["queue_timeout", "total_timeout"])
def test_no_attempt_follows_when_the_time_of_the_whole_task_is_over(code: str) -> None:
    names = failure_names(TaskError(code, "Too long."), None)

    assert not retried(names, code, transition=Transition.TIMEOUT)


@pytest.mark.parametrize(
    "transition", sorted(set(Transition) - {Transition.RAISE, Transition.TIMEOUT}), ids=lambda each: str(each)
)
def test_nothing_else_is_retried(transition: Transition) -> None:
    assert not retried(RAISED, transition=transition)
    assert not retried(RAISED, "ValueError", transition=transition)


def test_no_attempt_follows_the_last_one() -> None:
    assert not retried(RAISED, retries_left=0)
    assert not retried(RAISED, "ValueError", retries_left=0)


# -- when --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry_number", "longest_s"), [(1, 2.0), (2, 4.0), (3, 8.0), (5, 32.0), (6, 60.0), (7, 60.0), (10**9, 60.0)]
)
def test_the_longest_pause_doubles_up_to_its_limit(retry_number: int, longest_s: float) -> None:
    policy = RetryPolicy(backoff_s=2.0, backoff_max_s=60.0)

    assert pause_s(policy, retry_number, 0.5) == longest_s / 2
    assert pause_s(policy, retry_number, 0.0) == 0


def test_a_limit_below_the_first_pause_holds_for_it_too() -> None:
    assert pause_s(RetryPolicy(backoff_s=10.0, backoff_max_s=4.0), 1, 0.5) == 2


def test_who_wants_no_pause_gets_none() -> None:
    assert pause_s(RetryPolicy(backoff_s=0.0), 10**6, 0.9) == 0


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 10**12), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_within_its_limits(backoff_s: float, backoff_max_s: float, number: int, chance: float) -> None:
    policy = RetryPolicy(backoff_s=backoff_s, backoff_max_s=backoff_max_s)
    pause = pause_s(policy, number, chance)

    assert 0 <= pause <= backoff_max_s
    assert pause <= pause_s(policy, number + 1, chance)
    assert number > 30 or pause <= backoff_s * 2**number
