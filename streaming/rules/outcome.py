"""What a handler's end means for its task: status, error and result, in words for the client.

Owns:   the outcome of a run, decided in one place without waiting.
Never:  writes it down (``engine.runner``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from streaming.errors import StreamingError
from streaming.events import DEPTH_MAX, encode_payload
from streaming.records import CancelReceipt, TaskError
from streaming.rules.lifecycle import Cause, Transition, ending

MESSAGE_MAX = 2000
CODE_MAX = 64

#: The error code of a task that was stopped.
STOPPED_CODES = {Cause.CANCEL: "cancelled", Cause.TIMEOUT: "timed_out", Cause.SHUTDOWN: "shutdown"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        transition: the row of the life-cycle table.
        error: why there is no result; None for a completed task.
        result: what the handler returned; a stopped handler may return what it has.
    """

    transition: Transition
    error: TaskError | None = None
    result: Any = None


def outcome(
    cause: Cause | None,
    reason: str,
    *,
    code: str | None = None,
    returned: object = None,
    raised: BaseException | None,
    bytes_max: int,
) -> Outcome:
    """Decide how a run ended.

    Args:
        cause: what the handler was stopped for, if that was delivered to it.
        reason: the words for that.
        code: the error code for that; None takes the one of the cause.
        returned: what the handler returned.
        raised: what it raised; a cancellation counts as nothing once there is a cause.
        bytes_max: bytes of the result's JSON at most.

    Returns:
        The outcome; a result that cannot be stored makes it a failure, unless there is a cause.
    """
    result, unfit = _as_json(returned, bytes_max)
    if cause is not None:
        failed = raised if raised is not None and isinstance(raised, Exception | BaseExceptionGroup) else None
        message = reason if failed is None else f"{reason} Its cleanup raised {describe(failed)}"
        error = _error(code or STOPPED_CODES[cause], message)
        return Outcome(ending(cause, raised=raised is not None), error, result)
    if raised is not None:
        return Outcome(ending(None, raised=True), error_of(raised))
    if unfit is not None:
        return Outcome(ending(None, raised=True), unfit)
    return Outcome(ending(None, raised=False), None, result)


def cancelled_words(receipt: CancelReceipt) -> str:
    """By whom a task was cancelled, and why."""
    return f"Cancelled by {receipt.by}{': ' + receipt.reason if receipt.reason else ''}."


def error_of(raised: BaseException) -> TaskError:
    """The error of a task whose handler raised without being stopped."""
    if isinstance(raised, StreamingError):
        # A handler's own subclass may have left out what it should have set.
        detail = getattr(raised, "detail", None) or describe(raised)
        return _error(raised.code, detail)
    if isinstance(raised, Exception | BaseExceptionGroup):
        return _error("handler_error", describe(raised))
    return TaskError("handler_cancelled_itself", "The handler ended with a cancellation that nobody had asked for.")


def describe(error: BaseException, *, levels_max: int = 10) -> str:
    """An exception in one line; a group with all that it holds, as deep as anybody would read."""
    name, said = type(error).__name__, _said(error)
    text = f"{name}: {said}" if said else name
    if isinstance(error, BaseExceptionGroup) and levels_max:
        inner = (describe(each, levels_max=levels_max - 1) for each in error.exceptions)
        return f"{text}: [{'; '.join(inner)}]"
    return text


def _said(error: BaseException) -> str:
    """The text of an exception; it is a handler's code that makes it, and that may fail as well."""
    try:
        return str(error)
    except Exception:
        return ""


def _error(code: object, message: object) -> TaskError:
    """An error that can be stored: texts, not too long, without lone surrogates (as in undecodable file names)."""
    return TaskError(_text(code)[:CODE_MAX], _text(message)[:MESSAGE_MAX])


def _text(value: object) -> str:
    return str(value).encode(errors="backslashreplace").decode()


def _as_json(value: object, bytes_max: int) -> tuple[Any, TaskError | None]:
    """The value as it comes back from JSON, or why it cannot be stored."""
    try:
        text = encode_payload(value, depth_max=DEPTH_MAX)
        read_back = json.loads(text)
    except Exception as error:  # a result may have methods of its own, which may raise anything
        return None, _error("invalid_result", f"The result has no JSON form: {describe(error)}")
    size = len(text.encode())
    if size > bytes_max:
        return None, TaskError("result_too_large", f"The result has {size} bytes; at most {bytes_max} are stored.")
    return read_back, None
