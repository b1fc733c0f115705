"""The whole exception tree of the product, one class for each error code.

Owns:   the codes, and the words a caller reads.
Never:  knows an HTTP status (that is ``web.problems``), logs, or carries an internal message to a client.

Every error has a stable ``code``, a ``detail`` for people, and optionally ``errors``: one entry for each field that
is wrong. Whatever is raised on purpose derives from `StreamingError`; anything else is a bug and is reported as
``internal`` without its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong: its dotted path (``params.count``) and what would be right."""

    field: str
    message: str


class StreamingError(Exception):
    """Root of all errors raised on purpose.

    Args:
        detail: what was wrong, where, and what would be right; shown to clients.
        errors: one entry for each wrong field, may be empty.
        retry_after_s: seconds after which trying again makes sense; None where it does not.
    """

    code: ClassVar[str] = "internal"
    retry_after_default_s: ClassVar[float | None] = None

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = self.retry_after_default_s if retry_after_s is None else retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy it, or bring it out of a process, whatever arguments its class takes."""
        return _restore, (type(self), self.args, vars(self))


def _restore(kind: type[StreamingError], args: tuple[Any, ...], attributes: dict[str, Any]) -> StreamingError:
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


# -- the request is wrong ---------------------------------------------------
class BadRequest(StreamingError):
    """The request cannot be understood."""

    code = "bad_request"


class BadJson(BadRequest):
    """The body is not strict JSON (RFC 8259)."""

    code = "bad_json"


class JsonTooDeep(BadJson):
    """The body is nested in too many levels."""


class JsonTooWide(BadJson):
    """An object of the body has too many names."""


class BadCursor(BadRequest):
    """The cursor is no position of this log or feed."""

    code = "bad_cursor"


class BadFilter(BadRequest):
    """A query parameter, or its value, is not known here."""

    code = "bad_filter"


class Unauthenticated(StreamingError):
    """Nothing shows who is calling, or what should show it does not.

    Args:
        detail: says no more than its sender knows already, or may learn.
        challenge: what may be tried instead, as ``WWW-Authenticate`` says it (RFC 9110, 11.6.1; RFC 6750, 3).
        reason: one word for those who run the server; it never leaves it.
    """

    code = "unauthenticated"

    def __init__(self, detail: str, *, challenge: str = 'Bearer realm="streaming"', reason: str = "") -> None:
        super().__init__(detail)
        self.challenge, self.reason = challenge, reason


class QueryTooLarge(BadFilter):
    """A query has more filters or values, or asks for more at once, than it may."""


class Forbidden(StreamingError):
    """The caller may not do this."""

    code = "forbidden"


class RequestTooLate(StreamingError):
    """The headers or the body of a request did not arrive in time."""

    code = "request_timeout"


class UriTooLong(StreamingError):
    """The target of a request, its path with the query, is over its limit."""

    code = "uri_too_long"


class HeadersTooLarge(StreamingError):
    """A request has too many headers, or too many bytes of them."""

    code = "headers_too_large"


class NotFound(StreamingError):
    """There is no such thing."""

    code = "not_found"


class TaskNotFound(NotFound):
    """No task has this id."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"There is no task {task_id[:64]!r}.")
        self.task_id = task_id


class MethodNotAllowed(StreamingError):
    """The resource exists, the method does not; ``allowed`` names those that do."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{method[:32]} is not possible here; possible: {', '.join(allowed)}.")
        self.allowed = tuple(allowed)


class NotAcceptable(StreamingError):
    """No representation fits the ``Accept`` header."""

    code = "not_acceptable"


class BodyTooLarge(StreamingError):
    """The body is over its limit."""

    code = "body_too_large"


class UnsupportedMediaType(StreamingError):
    """The body is not JSON."""

    code = "unsupported_media_type"


class UpgradeRequired(StreamingError):
    """A stream needs a newer version of HTTP than the request has."""

    code = "upgrade_required"


class InvalidParams(StreamingError):
    """Fields of the request are wrong; ``errors`` names each of them."""

    code = "invalid_params"


class ReportTooLarge(InvalidParams):
    """A report about an external task has more, or something larger, than it may."""


class UnknownType(StreamingError):
    """No task type has this name."""

    code = "unknown_type"


class IdempotencyMismatch(StreamingError):
    """The same Idempotency-Key was used with another body."""

    code = "idempotency_mismatch"


# -- the task is not in the right status ---------------------------------------------------
class TaskTerminal(StreamingError):
    """The task has ended in another way before."""

    code = "task_terminal"

    def __init__(self, task_id: str, status: str) -> None:
        super().__init__(f"Task {task_id} has ended before: it is {status}.")
        self.task_id, self.status = task_id, status


class TaskActive(StreamingError):
    """The task has not ended yet."""

    code = "task_active"

    def __init__(self, task_id: str, status: str, wanted: str = "deleted") -> None:
        super().__init__(f"Task {task_id} is {status}: only a terminal task can be {wanted}; cancel it first.")
        self.task_id, self.status = task_id, status


class IllegalTransition(StreamingError):
    """The life cycle has no such transition: a bug of ours, never a client's mistake."""


class StatusConflict(StreamingError):
    """An external worker wants a status that cannot follow the one that the task has."""

    code = "illegal_transition"

    def __init__(self, task_id: str, status: str, wanted: str) -> None:
        super().__init__(f"Task {task_id} is {status}, and cannot become {wanted}.")


class TimeOver(StreamingError):
    """More time is asked for a task that is being stopped since a deadline has passed."""

    code = "time_over"


class NotExternal(StreamingError):
    """A report about a task whose handler runs in the server."""

    code = "not_external"

    def __init__(self, task_id: str, type: str) -> None:
        super().__init__(f"Task {task_id} of type {type} runs in the server: only an external task takes reports.")


class KeyBusy(StreamingError):
    """Another task with this key has not ended, and the start wants to be refused then."""

    code = "key_busy"

    def __init__(self, key: str, task_id: str) -> None:
        super().__init__(f"Task {task_id} with the key {key[:64]!r} has not ended.")
        self.task_id = task_id


# -- not now -----------------------------------------------------------------------------------------------------------
class TooManyTasks(StreamingError):
    """The queue of pending tasks is full."""

    code = "too_many_tasks"
    retry_after_default_s = 5.0


class TooManyKeys(StreamingError):
    """As many idempotency keys of the caller are remembered as may be."""

    code = "too_many_keys"
    retry_after_default_s = 60.0


class TooManyInputs(StreamingError):
    """A task has as many inputs as it may have."""

    code = "too_many_inputs"
    retry_after_default_s = 5.0


class TooManyStreams(StreamingError):
    """The limit of open streams is reached."""

    code = "too_many_streams"
    retry_after_default_s = 5.0


class RateLimited(StreamingError):
    """Somebody asks more often than is allowed."""

    code = "rate_limited"
    retry_after_default_s = 1.0


class TooManyOwnStreams(TooManyStreams):
    """The caller has as many open streams as one may have."""


class Draining(StreamingError):
    """The server is shutting down and accepts nothing new."""

    code = "draining"
    retry_after_default_s = 5.0

    def __init__(self) -> None:
        super().__init__("This server is shutting down and starts nothing new; try again in a few seconds.")


class StoreUnavailable(StreamingError):
    """The store cannot be read or written at the moment."""

    code = "store_unavailable"
    retry_after_default_s = 2.0


class StoreUnreachable(StoreUnavailable):
    """Nobody answers where the store should be: the same may succeed once it is back."""


class QueryTooSlow(StreamingError):
    """A question would take the store longer than it may."""

    code = "query_too_slow"
    retry_after_default_s = 5.0


# -- what the store holds ---------------------------------------------------
class RecordDamaged(StreamingError):
    """Somebody else has written to the store, or the disk is broken: this one record cannot be read."""

    code = "record_damaged"

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"The record of task {task_id[:64]!r} is damaged, and trying again does not help. "
            "The log of the server says what is wrong; the task can be deleted."
        )
        self.task_id = task_id


# -- a handler's mistakes ---------------------------------------------------
class InvalidEvent(StreamingError):
    """A handler emitted something that cannot be an event."""

    code = "invalid_event"


class EventTooLarge(InvalidEvent):
    """A handler emitted more bytes than one event may have."""

    code = "event_too_large"


class TooManyEvents(InvalidEvent):
    """A task has as many events as it may have."""

    code = "too_many_events"


class LogTooLarge(InvalidEvent):
    """The events of a task have as many bytes as they may have."""

    code = "log_too_large"


class TaskEnded(StreamingError):
    """A handler emitted after its task had ended."""

    code = "task_ended"


class InvalidTaskType(StreamingError):
    """A function cannot be registered as a handler, or its name is taken."""

    code = "invalid_task_type"


class InvalidSettings(StreamingError):
    """The configuration cannot be used; ``errors`` names each wrong setting."""

    code = "invalid_settings"


class HandlerError(StreamingError):
    """A handler's own way to fail: ``code`` and message become the task's error.

    Args:
        code: machine-readable, lower case with underscores.
        detail: for people; it is shown to clients.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]  # the one error whose code is chosen by the handler


class Stopped(BaseException):
    """Leaves a thread's handler once its task is to stop; like CancelledError, not an Exception."""


# -- how a task ended, for those who wait for its result ---------------------------------------------------
class TaskUnsuccessful(StreamingError):
    """The task has ended without a result.

    Args:
        task_id: the task.
        code: the code of the task's error, or its status.
        detail: the task's error message.
    """

    def __init__(self, task_id: str, code: str, detail: str) -> None:
        super().__init__(f"Task {task_id}: {detail}")
        self.task_id, self.task_code = task_id, code


class TaskFailed(TaskUnsuccessful):
    """The handler raised."""

    code = "failed"


class TaskCancelled(TaskUnsuccessful):
    """Somebody cancelled the task."""

    code = "cancelled"


class TaskTimedOut(TaskUnsuccessful):
    """The task was over its ``timeout_s``, which the message names."""

    code = "timed_out"


class TaskInterrupted(TaskUnsuccessful):
    """A shutdown or a crash ended the task."""

    code = "interrupted"


# -- the client's side -------------------------------------
class ServerError(StreamingError):
    """An answer of the server that no other class describes: its HTTP status, and what its problem body says."""

    def __init__(self, status: int, code: str, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail, errors=errors)
        self.status = status
        self.code = code  # type: ignore[misc]  # as the server said


class ServerUnreachable(StreamingError):
    """The server cannot be reached, or went away for longer than the client is willing to wait."""

    code = "unreachable"


class LogGap(StreamingError):
    """A watched log has lost events; ``first`` to ``last`` are missing."""

    code = "gap"

    def __init__(self, task_id: str, first: int, last: int, reason: str) -> None:
        super().__init__(f"Events {first} to {last} of task {task_id} are gone ({reason}).")
        self.task_id, self.first, self.last, self.reason = task_id, first, last, reason
