"""What the end of a handler means is decided once, and can always be written down."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import HandlerError, InvalidEvent
from streaming.events import DEPTH_MAX, encode_payload
from streaming.records import TaskError
from streaming.rules.lifecycle import Cause, Transition
from streaming.rules.outcome import CODE_MAX, MESSAGE_MAX, Outcome, describe, error_of, outcome


def ended(cause: Cause | None = None, *, returned: object = None, raised: BaseException | None = None) -> Outcome:
    return outcome(cause, "Because.", returned=returned, raised=raised, bytes_max=100)


def test_a_handler_that_returns_has_completed_with_its_result() -> None:
    assert ended(returned={"n": 1}) == Outcome(Transition.RETURN, None, {"n": 1})


def test_the_result_is_what_json_makes_of_it_so_that_live_and_stored_agree() -> None:
    assert ended(returned={"pair": (1, 2), 3: None}).result == {"pair": [1, 2], "3": None}


def test_a_handler_that_raises_has_failed_with_type_and_text() -> None:
    assert ended(raised=KeyError("count")) == Outcome(
        Transition.RAISE, TaskError("handler_error", "KeyError: 'count'"), None
    )


def test_a_handler_may_choose_its_own_code() -> None:
    assert ended(raised=HandlerError("no_disk", "There is no disk.")).error == TaskError("no_disk", "There is no disk.")


def test_an_error_of_ours_keeps_its_code() -> None:
    assert ended(raised=InvalidEvent("No.")).error == TaskError("invalid_event", "No.")


def test_a_cancellation_that_nobody_asked_for_is_a_failure_and_no_cancel() -> None:
    found = ended(raised=asyncio.CancelledError())

    assert found.transition is Transition.RAISE
    assert found.error is not None
    assert found.error.code == "handler_cancelled_itself"


def test_its_own_timeout_error_is_a_failure_and_no_timeout() -> None:
    found = ended(raised=TimeoutError())

    assert found == Outcome(Transition.RAISE, TaskError("handler_error", "TimeoutError"), None)


@pytest.mark.parametrize("raised", [None, asyncio.CancelledError(), KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("cause", "transition", "code"),
    [
        (Cause.CANCEL, Transition.CANCEL, "cancelled"),
        (Cause.TIMEOUT, Transition.TIMEOUT, "timed_out"),
        (Cause.SHUTDOWN, Transition.SHUTDOWN, "shutdown"),
    ],
)
def test_a_delivered_cause_is_the_end_however_the_handler_left(
    cause: Cause, transition: Transition, code: str, raised: BaseException | None
) -> None:
    assert ended(cause, raised=raised) == Outcome(transition, TaskError(code, "Because."), None)


def test_an_error_while_cleaning_up_is_told_beside_the_cause() -> None:
    found = ended(Cause.CANCEL, raised=OSError("disk"))

    assert found.transition is Transition.CANCEL
    assert found.error == TaskError("cancelled", "Because. Its cleanup raised OSError: disk")


def test_a_stopped_handler_may_return_what_it_has() -> None:
    assert ended(Cause.CANCEL, returned=[1, 2]).result == [1, 2]


def test_a_stopped_handler_with_an_unfit_result_is_stopped_and_nothing_else() -> None:
    assert ended(Cause.CANCEL, returned=object()) == Outcome(
        Transition.CANCEL, TaskError("cancelled", "Because."), None
    )


class Hostile(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no items today")


def _endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [object(), math.nan, math.inf, {1, 2}, b"x", "\ud800", {("a",): 1}, _endless(), _deep(), Hostile(a=1)]
)
def test_a_result_without_a_json_form_is_a_failure_that_says_so(value: object) -> None:
    found = ended(returned=value)

    assert found.transition is Transition.RAISE
    assert found.error is not None
    assert found.error.code == "invalid_result"
    assert found.result is None


@pytest.mark.parametrize(("levels", "code"), [(DEPTH_MAX, None), (DEPTH_MAX + 1, "invalid_result")])
def test_a_result_may_be_nested_as_deep_as_everybody_can_read_it(levels: int, code: str | None) -> None:
    value = json.loads("[" * levels + "]" * levels)
    found = outcome(None, "", returned=value, raised=None, bytes_max=1000)

    assert (found.error and found.error.code) == code


def test_a_result_may_have_the_limit_and_not_one_byte_more() -> None:
    assert ended(returned="x" * 98).transition is Transition.RETURN
    found = ended(returned="x" * 99)

    assert found.error == TaskError("result_too_large", "The result has 101 bytes; at most 100 are stored.")
    assert found.transition is Transition.RAISE


def test_bytes_are_counted_and_not_letters() -> None:
    assert ended(returned="ä" * 50).error == TaskError(
        "result_too_large", "The result has 102 bytes; at most 100 are stored."
    )


def test_a_group_is_reported_whole() -> None:
    group = ExceptionGroup("two", [ValueError("a"), ExceptionGroup("inner", [KeyError("b"), OSError()])])

    assert describe(group) == (
        "ExceptionGroup: two (2 sub-exceptions): "
        "[ValueError: a; ExceptionGroup: inner (2 sub-exceptions): [KeyError: 'b'; OSError]]"
    )
    assert error_of(group).code == "handler_error"


def test_a_group_with_a_cancellation_in_it_is_an_error_of_the_handler() -> None:
    group = BaseExceptionGroup("two", [asyncio.CancelledError(), ValueError("a")])

    assert error_of(group).code == "handler_error"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nothing to say")


def test_an_exception_that_cannot_say_what_it_is_is_named() -> None:
    assert error_of(Mute()) == TaskError("handler_error", "Mute")
    assert ended(Cause.CANCEL, raised=Mute()).error == TaskError("cancelled", "Because. Its cleanup raised Mute")


@pytest.mark.parametrize("cause", [None, Cause.TIMEOUT])
@pytest.mark.parametrize("error", [ValueError, lambda text: HandlerError("odd", text)])
def test_a_message_that_utf8_cannot_carry_is_written_down_all_the_same(cause: Cause | None, error: Any) -> None:
    found = ended(cause, raised=error("no such file: caf\udce9")).error

    assert found is not None
    assert "caf\\udce9" in found.message
    encode_payload(found.message)


@given(st.text(st.characters(codec=None)), st.sampled_from([None, *Cause]))
def test_whatever_was_raised_the_end_can_be_stored(text: str, cause: Cause | None) -> None:
    error = ended(cause, raised=ValueError(text)).error

    assert error is not None
    encode_payload(error.message)


@pytest.mark.parametrize("cause", [None, Cause.CANCEL])
@pytest.mark.parametrize("raised", [ValueError("x" * 10_000), InvalidEvent("x" * 10_000)])
def test_a_message_has_a_limit(raised: Exception, cause: Cause | None) -> None:
    error = ended(cause, raised=raised).error

    assert error is not None
    assert len(error.message) == MESSAGE_MAX


def test_a_group_nested_deeper_than_anybody_reads_is_described() -> None:
    group: ExceptionGroup[Exception] = ExceptionGroup("0", [ValueError("x")])
    for level in range(2000):
        group = ExceptionGroup(str(level), [group])

    assert error_of(group).code == "handler_error"


class Careless(HandlerError):
    def __init__(self) -> None:
        """Sets nothing."""


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (Careless(), "internal", "Careless"),
        (HandlerError("code", None), "code", "HandlerError"),  # type: ignore[arg-type]  # a mistake to survive
        (HandlerError("\ud800", "x"), "\\ud800", "x"),
        (HandlerError(5, 6), "5", "6"),  # type: ignore[arg-type]  # a mistake to survive
        (HandlerError("c" * 1000, "x"), "c" * CODE_MAX, "x"),
    ],
)
def test_an_error_that_was_made_carelessly_is_still_an_error_that_can_be_stored(
    raised: HandlerError, code: str, message: str
) -> None:
    error = error_of(raised)

    assert error.code == code
    assert error.message.startswith(message)
    assert json.loads(encode_payload([error.code, error.message])) == [error.code, error.message]
