"""One tree, one class for each code, and words that are safe to show."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from streaming import errors
from streaming.errors import FieldError, HandlerError, ServerError, Stopped, StreamingError

TREE = [found for found in vars(errors).values() if inspect.isclass(found) and issubclass(found, StreamingError)]

#: Codes that HTTP.md promises to clients and that are raised on purpose.
CONTRACT = {
    "bad_request",
    "bad_json",
    "bad_cursor",
    "bad_filter",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "not_acceptable",
    "task_terminal",
    "task_active",
    "body_too_large",
    "unsupported_media_type",
    "upgrade_required",
    "invalid_params",
    "unknown_type",
    "idempotency_mismatch",
    "too_many_tasks",
    "too_many_streams",
    "draining",
    "store_unavailable",
    "internal",
}


def test_every_code_of_the_contract_has_its_class() -> None:
    assert set() == CONTRACT - {each.code for each in TREE}


#: Not found by what is asked for; internal by what it is not; these two carry the code that somebody else chose.
SHARED = {"not_found", "internal"}


def test_no_two_classes_share_a_code_by_accident() -> None:
    codes = [each.code for each in TREE if each.code not in SHARED and "code" in vars(each)]

    assert sorted(codes) == sorted(set(codes))


def test_an_error_carries_its_words_its_fields_and_when_to_try_again() -> None:
    error = errors.InvalidParams("Wrong.", errors=[FieldError("params.n", "A number.")], retry_after_s=3.0)

    assert (str(error), error.detail) == ("Wrong.", "Wrong.")
    assert error.errors == (FieldError("params.n", "A number."),)
    assert error.retry_after_s == 3.0


def test_an_error_without_a_default_says_nothing_about_trying_again() -> None:
    assert StreamingError("Wrong.").retry_after_s is None


@pytest.mark.parametrize(
    "error",
    [
        errors.TooManyTasks("Full."),
        errors.TooManyStreams("Full."),
        errors.Draining(),
        errors.StoreUnavailable("Away."),
    ],
)
def test_what_is_only_not_now_says_when_to_try_again(error: StreamingError) -> None:
    assert error.retry_after_s is not None
    assert error.retry_after_s > 0


@pytest.mark.parametrize(
    "error",
    [
        errors.TaskNotFound("x" * 10_000),
        errors.MethodNotAllowed("X" * 10_000, ["GET"]),
    ],
)
def test_what_a_client_sent_is_quoted_only_in_part(error: StreamingError) -> None:
    assert len(error.detail) < 200


def test_an_error_about_a_task_names_the_task() -> None:
    assert errors.TaskNotFound("7").task_id == "7"
    terminal = errors.TaskTerminal("7", "failed")
    assert (terminal.task_id, terminal.status) == ("7", "failed")
    assert "it is failed" in terminal.detail
    active = errors.TaskActive("7", "running")
    assert (active.task_id, active.status) == ("7", "running")
    assert "cancel it first" in active.detail


def test_a_method_that_is_not_allowed_comes_with_those_that_are() -> None:
    error = errors.MethodNotAllowed("PUT", ["GET", "POST"])

    assert error.allowed == ("GET", "POST")
    assert error.detail == "PUT is not possible here; possible: GET, POST."


def test_a_handler_chooses_its_own_code_and_changes_no_other() -> None:
    assert HandlerError("no_disk", "There is no disk.").code == "no_disk"
    assert HandlerError.code == StreamingError.code


def test_what_the_server_said_is_kept_as_it_said_it() -> None:
    error = ServerError(418, "teapot", "Short and stout.", errors=[FieldError("pot", "Full.")])

    assert (error.status, error.code, error.detail, len(error.errors)) == (418, "teapot", "Short and stout.", 1)


def test_a_task_without_a_result_says_which_and_why() -> None:
    error = errors.TaskFailed("7", "handler_error", "KeyError: 'n'")

    assert (error.task_id, error.task_code, error.code) == ("7", "handler_error", "failed")
    assert error.detail == "Task 7: KeyError: 'n'"


def test_a_gap_names_its_range() -> None:
    gap = errors.LogGap("7", 10, 99, "retention")

    assert (gap.task_id, gap.first, gap.last, gap.reason) == ("7", 10, 99, "retention")
    assert gap.detail == "Events 10 to 99 of task 7 are gone (retention)."


@pytest.mark.parametrize(
    "error",
    [
        HandlerError("no_disk", "There is no disk."),
        ServerError(418, "teapot", "Short and stout.", errors=[FieldError("pot", "Full.")]),
        errors.TaskTerminal("7", "failed"),
        errors.LogGap("7", 10, 99, "retention"),
        errors.TooManyTasks("Full.", retry_after_s=9.0),
        errors.Draining(),
    ],
)
def test_an_error_comes_out_of_a_process_as_it_was(error: StreamingError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  # our own bytes
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_to_be_stopped_is_not_caught_by_a_handler_that_catches_exceptions() -> None:
    assert not issubclass(Stopped, Exception)
