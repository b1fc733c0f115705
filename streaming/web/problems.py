"""Errors as the client sees them: RFC 9457 problem bodies of one shape.

Rules of this file:

- Every class of ``errors.py`` stands in `STATUSES`; a test holds this.
- What is no mistake of the client's, no passing trouble and no damage is 500 ``internal``: its own words never leave.

Owns:   error class -> HTTP status; the title of a status; the shape of a problem; Retry-After.
Never:  logs, or decides what is an error.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from streaming import errors
from streaming.engine.limits import LimitName
from streaming.web.reply import Reply, json_reply

CONTENT_TYPE = "application/problem+json"


#: Wrong fields that one answer names: whoever sends more gets the first ones.
WRONG_MAX = 100

#: Stands for 500 ``internal``.
INTERNAL = None

#: The phrases of RFC 9110, as RFC 9457 asks for with ``about:blank``; Python's own differ from version to version.
TITLES: Mapping[int, str] = MappingProxyType(
    {
        400: "Bad Request",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        406: "Not Acceptable",
        408: "Request Timeout",
        409: "Conflict",
        413: "Content Too Large",
        414: "URI Too Long",
        415: "Unsupported Media Type",
        422: "Unprocessable Content",
        426: "Upgrade Required",
        429: "Too Many Requests",
        431: "Request Header Fields Too Large",
        500: "Internal Server Error",
        503: "Service Unavailable",
    }
)

STATUSES: Mapping[type[errors.StreamingError], int | None] = MappingProxyType(
    {
        errors.StreamingError: INTERNAL,
        # The request is wrong.
        errors.BadRequest: 400,
        errors.BadJson: 400,
        errors.JsonTooDeep: 400,
        errors.JsonTooWide: 400,
        errors.BadCursor: 400,
        errors.BadFilter: 400,
        errors.QueryTooLarge: 400,
        errors.Unauthenticated: 401,
        errors.Forbidden: 403,
        errors.NotFound: 404,
        errors.TaskNotFound: 404,
        errors.MethodNotAllowed: 405,
        errors.NotAcceptable: 406,
        errors.RequestTooLate: 408,
        errors.UriTooLong: 414,
        errors.HeadersTooLarge: 431,
        errors.BodyTooLarge: 413,
        errors.UnsupportedMediaType: 415,
        errors.UpgradeRequired: 426,
        errors.InvalidParams: 422,
        errors.ReportTooLarge: 422,
        errors.UnknownType: 422,
        errors.IdempotencyMismatch: 422,
        # The task is not in the right status.
        errors.TaskTerminal: 409,
        errors.TaskActive: 409,
        errors.StatusConflict: 409,
        errors.TimeOver: 409,
        errors.NotExternal: 409,
        errors.KeyBusy: 409,
        errors.TooManyEvents: 409,  # and a handler's mistakes
        errors.LogTooLarge: 409,
        # Not now.
        errors.TooManyTasks: 429,
        errors.TooManyKeys: 429,
        errors.TooManyInputs: 429,
        errors.TooManyStreams: 429,
        errors.TooManyOwnStreams: 429,
        errors.RateLimited: 429,
        errors.Draining: 503,
        errors.StoreUnavailable: 503,
        errors.StoreUnreachable: 503,
        errors.QueryTooSlow: 503,
        # Not ever.
        errors.RecordDamaged: 500,
        # A handler's mistakes, a configuration's, ours: they reach a client in its task, never as an answer.
        errors.IllegalTransition: INTERNAL,
        errors.InvalidEvent: INTERNAL,
        errors.EventTooLarge: INTERNAL,
        errors.TaskEnded: INTERNAL,
        errors.InvalidTaskType: INTERNAL,
        errors.InvalidSettings: INTERNAL,
        errors.HandlerError: INTERNAL,
        # The client's side of the wire.
        errors.TaskUnsuccessful: INTERNAL,
        errors.TaskFailed: INTERNAL,
        errors.TaskCancelled: INTERNAL,
        errors.TaskTimedOut: INTERNAL,
        errors.TaskInterrupted: INTERNAL,
        errors.ServerError: INTERNAL,
        errors.ServerUnreachable: INTERNAL,
        errors.LogGap: INTERNAL,
    }
)

#: What is counted when it is refused here; the engine counts its own.
LIMITS: Mapping[type[errors.StreamingError], LimitName] = MappingProxyType(
    {
        errors.RateLimited: "rate_limited",
        errors.TooManyStreams: "too_many_streams",
        errors.TooManyOwnStreams: "too_many_streams_of_principal",
        errors.BodyTooLarge: "body_too_large",
        errors.JsonTooDeep: "json_too_deep",
        errors.JsonTooWide: "json_too_wide",
        errors.QueryTooLarge: "query_too_large",
        errors.QueryTooSlow: "query_too_slow",
        errors.RequestTooLate: "request_timeout",
        errors.UriTooLong: "uri_too_long",
    }
)

#: Every code that an answer may have.
CODES = frozenset({"internal", *(kind.code for kind, status in STATUSES.items() if status is not INTERNAL)})


def status_of(error: errors.StreamingError) -> int | None:
    """The HTTP status, or `INTERNAL`; a class of somebody's own counts as the nearest one above it."""
    return next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)


def problem(error: errors.StreamingError, **more: object) -> Reply:
    """Answer with what went wrong.

    Args:
        error: it.
        more: members beside those of every problem (RFC 9457, 3.2).

    Raises:
        ValueError: its `status_of` is `INTERNAL`, so its words must not leave.
    """
    status = status_of(error)
    if status is INTERNAL:
        raise ValueError(f"{type(error).__name__} is nothing to tell a client")
    return _reply(
        status,
        error.code,
        error.detail,
        wrong=[dataclasses.asdict(field) for field in error.errors[:WRONG_MAX]],
        headers=_headers(error),
        more=more,
    )


def internal_problem(request_id: str) -> Reply:
    """Answer that we failed, without saying how.

    Args:
        request_id: under which the log has the rest.
    """
    detail = f"The server failed; this is not your mistake. Its log tells more about request {request_id}."
    return _reply(500, "internal", detail)


def _reply(
    status: int,
    code: str,
    detail: str,
    *,
    wrong: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> Reply:
    body = {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "code": code,
        "detail": detail,
        "errors": wrong or [],
        **(more or {}),
    }
    return json_reply(status, body, content_type=CONTENT_TYPE, headers=headers)


def _headers(error: errors.StreamingError) -> dict[str, str]:
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = error.challenge
    if isinstance(error, errors.MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    if isinstance(error, errors.UpgradeRequired):
        headers.update({"upgrade": "HTTP/1.1", "connection": "upgrade"})
    return headers
