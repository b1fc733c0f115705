"""What the server's answers mean.

Owns:   JSON -> `Record` and `Event`; problem body -> the right class of ``streaming.errors``; how an end is raised.
Never:  sends anything, or decides whether to try again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

import httpx
from pydantic import TypeAdapter, ValidationError

from streaming import errors
from streaming.errors import FieldError, ServerError, ServerUnreachable, StreamingError, TaskUnsuccessful
from streaming.events import Event, encode_payload
from streaming.records import Record, TaskStatus

#: Failures on the way: the request may or may not have arrived.
LOST = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)

#: Statuses of a server, or of a proxy before it, that may be another one in a moment.
PASSING = frozenset({408, 429, 502, 503, 504})

_RETRY_AFTER_DIGITS_MAX = 9

#: Errors that a code and a detail describe completely. The others need to know the task, and are raised in
#: ``client.client``; a code that is not here becomes a `ServerError`.
_BY_CODE = MappingProxyType(
    {
        kind.code: kind
        for kind in (
            errors.BadRequest,
            errors.BadJson,
            errors.BadCursor,
            errors.BadFilter,
            errors.Forbidden,
            errors.NotFound,
            errors.NotAcceptable,
            errors.UpgradeRequired,
            errors.BodyTooLarge,
            errors.UnsupportedMediaType,
            errors.InvalidParams,
            errors.UnknownType,
            errors.IdempotencyMismatch,
            errors.TimeOver,
            errors.TooManyTasks,
            errors.TooManyKeys,
            errors.TooManyInputs,
            errors.TooManyStreams,
            errors.RateLimited,
            errors.StoreUnavailable,
            errors.QueryTooSlow,
        )
    }
)

#: What is meant where no code is named: by a proxy that stands before the server.
_CODES = MappingProxyType({401: errors.Unauthenticated.code, 403: errors.Forbidden.code, 429: errors.RateLimited.code})

_BY_STATUS = MappingProxyType(
    {
        TaskStatus.FAILED: errors.TaskFailed,
        TaskStatus.CANCELLED: errors.TaskCancelled,
        TaskStatus.TIMED_OUT: errors.TaskTimedOut,
        TaskStatus.INTERRUPTED: errors.TaskInterrupted,
    }
)

_POLICY = ("retry", "queue_timeout_s", "heartbeat_timeout_s", "total_timeout_s", "keep_until_ack")

_record = TypeAdapter(Record)
_event = TypeAdapter(Event)


def record_from(document: Any) -> Record:
    """Read a task as `Record.as_json` writes it; what is not known is ignored.

    Raises:
        ServerError: code ``bad_answer``; this is no task.
    """
    try:
        return _record.validate_python(_with_policy(document) if isinstance(document, dict) else document)
    except ValidationError as error:
        raise bad_answer(f"A task was expected: {first_line(error)}") from error


def _with_policy(document: dict[str, Any]) -> dict[str, Any]:
    """Put together what `Record.as_json` has written beside the other fields; an older server does not know it."""
    policy: dict[str, Any] = {name: document[name] for name in _POLICY if name in document}
    unwatched = document.get("on_unwatched")
    if isinstance(unwatched, dict):
        policy["cancel_unwatched_s"] = unwatched.get("cancel_after_s")
    return {**document, "policy": policy}


def event_from(source: str | Mapping[str, Any]) -> Event:
    """Read one event as ``rules.sse.envelope`` writes it, or the document in it; what is not known is ignored.

    Raises:
        ServerError: code ``bad_answer``; this is no event.
    """
    try:
        document = json.loads(source) if isinstance(source, str) else source
        return _event.validate_python({**document, "payload": encode_payload(document["data"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise bad_answer(f"An event was expected, not {str(source)[:80]!r}: {first_line(error)}") from error


def document_from(response: httpx.Response) -> dict[str, Any]:
    """The JSON object in a successful answer.

    Raises:
        ServerError: code ``bad_answer``; there is none.
    """
    try:
        document = response.json()
    except (ValueError, RecursionError) as error:
        raise bad_answer(f"JSON was expected: {first_line(error)}", response.status_code) from error
    if not isinstance(document, dict):
        raise bad_answer("A JSON object was expected.", response.status_code)
    return document


def items_in(document: dict[str, Any], name: str) -> Sequence[dict[str, Any]]:
    """A list in an answer.

    Raises:
        ServerError: code ``bad_answer``; there is none of this name.
    """
    items = document.get(name)
    if not isinstance(items, list):
        raise bad_answer(f"A JSON object with a list {name!r} was expected.")
    return items


def bad_answer(detail: str, status: int = 200) -> ServerError:
    """The server said something that it never says: it is another server, or another version."""
    return ServerError(status, "bad_answer", detail)


def unreachable(url: httpx.URL, error: Exception) -> ServerUnreachable:
    """The request or its answer was lost on the way."""
    trouble = ServerUnreachable(f"{shown(url)} cannot be reached: {first_line(error)}.")
    trouble.__cause__ = error
    return trouble


def shown(url: httpx.URL) -> str:
    """An address for people: without the user and the password that may stand in it."""
    return str(url.copy_with(userinfo=b""))


def problem(response: httpx.Response) -> StreamingError:
    """Make an error of an answer that is none of ours to return.

    Args:
        response: read completely; any status but a successful one.

    Returns:
        The class of ``streaming.errors`` that the problem's code names, or a `ServerError`.
    """
    body = _problem_body(response)
    code = str(body.get("code") or _CODES.get(response.status_code, "internal"))
    detail = str(body.get("detail") or _reason(response))
    wrong = _field_errors(body.get("errors"))
    error: StreamingError
    if code in _BY_CODE:
        error = _BY_CODE[code](detail, errors=wrong)
    elif code == errors.Draining.code:
        error = errors.Draining()
    elif code == errors.Unauthenticated.code:
        error = errors.Unauthenticated(detail, challenge=response.headers.get("www-authenticate", ""))
    else:
        error = ServerError(response.status_code, code, detail, errors=wrong)
    named = _retry_after_s(response)
    error.retry_after_s = error.retry_after_s if named is None else named
    return error


def successful(record: Record) -> Record:
    """Give back the record of a completed task.

    Raises:
        TaskUnsuccessful: the subclass that says how the task ended without a result.
    """
    if record.status in _BY_STATUS:
        _raise_outcome(_BY_STATUS[record.status], record)
    return record


def _raise_outcome(kind: type[TaskUnsuccessful], record: Record) -> NoReturn:
    if record.error is not None:
        raise kind(record.id, record.error.code, record.error.message)
    raise kind(record.id, record.status.value, f"it was {record.status}.")


def _problem_body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _reason(response: httpx.Response) -> str:
    """What can be said of an answer without a problem body: a proxy's, or one of another server."""
    if response.has_redirect_location:
        return f"{shown(response.url)} redirects to {response.headers['location']}: use that address."
    return f"{shown(response.url)} answered {response.status_code} {response.reason_phrase}."


def _field_errors(entries: Any) -> list[FieldError]:
    if not isinstance(entries, list):
        return []
    return [
        FieldError(str(entry.get("field", "")), str(entry.get("message", "")))
        for entry in entries
        if isinstance(entry, dict)
    ]


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds of ``Retry-After``; its other form, a date, is not worth trusting two clocks for."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() and len(value) <= _RETRY_AFTER_DIGITS_MAX else None


def first_line(error: Exception) -> str:
    """The beginning of what an exception says, on one line."""
    return " ".join(str(error).split("\n")[:3]) or type(error).__name__
