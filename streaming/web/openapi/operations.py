"""Every operation: what it takes, what it answers, and how it refuses.

Owns:   the table of operations.
Uses:   web.openapi.parameters, bodies and answers, by name.
Never:  knows a limit, or a handler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple

from streaming import errors
from streaming.errors import StreamingError
from streaming.web.fields import CancelFields, ExtendFields, InputFields, ReportFields, StartFields
from streaming.web.openapi.answers import Schema, ref
from streaming.web.openapi.bodies import EVENTS
from streaming.web.openapi.parameters import QUESTION
from streaming.web.reply import JSON, NDJSON, SSE

OPENAPI_JSON = "/openapi.json"

_OK, _CREATED, _ACCEPTED, _NOTHING = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT

_STREAM: Schema = {
    "type": "string",
    "contentMediaType": SSE,
    "description": "Server-sent events: the id is the place to resume from, the data is an Event on one line. The "
    "response ends after the terminal event of the task.",
    "examples": [
        'retry: 2000\nid: 1\nevent: pending\ndata: {"seq":1,"task_id":"01a1faf2e1e272c28c97af9bddbf8148",'
        '"type":"pending","time":"2026-11-20T21:53:03.970647Z","data":{}}\n\n'
    ],
}
_LINES: Schema = {
    "type": "string",
    "contentMediaType": NDJSON,
    "description": "The same stream, one Event a line; blanks may stand in front of one.",
}


class Answer(NamedTuple):
    """What an operation answers with one status.

    Attributes:
        description: when, or what.
        content: schemas by media type; none for an answer without a body.
        headers: names of the headers that it has, see `HEADERS`.
    """

    description: str
    content: Mapping[str, Schema] = MappingProxyType({})
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        id: its name for those who generate clients.
        tag: where it belongs.
        summary: in a few words.
        answers: what it answers if nothing is wrong, by status.
        refusals: the errors it may answer with, besides those of every operation.
        parameters: names of parameters.
        body: the schema of its body; None if there is nothing to say.
        body_required: whether it must have one.
        description: more words.
        guarded: whether it asks who is calling.
        by_token: whether a stream token will do.
    """

    id: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    refusals: tuple[type[StreamingError], ...] = ()
    parameters: tuple[str, ...] = ()
    body: Schema | None = None
    body_required: bool = True
    description: str = ""
    guarded: bool = True
    by_token: bool = False


def _json(name: str, description: str, *headers: str) -> Answer:
    return Answer(description, {JSON: ref(name)}, headers)


#: What every operation may answer.
ALWAYS: tuple[type[StreamingError], ...] = (
    errors.Forbidden,
    errors.UriTooLong,
    errors.HeadersTooLarge,
    StreamingError,
)

#: What one may answer that asks who is calling.
GUARDED: tuple[type[StreamingError], ...] = (errors.Unauthenticated, errors.RateLimited, errors.StoreUnavailable)

_QUERY = (errors.BadRequest, errors.BadFilter)
_BODY = (
    errors.BadRequest,
    errors.RequestTooLate,
    errors.BadJson,
    errors.BodyTooLarge,
    errors.UnsupportedMediaType,
    errors.InvalidParams,
)
_STORE = (errors.StoreUnavailable,)
_QUESTION = (*_QUERY, errors.QueryTooSlow, *_STORE)
_STREAMS = (errors.NotAcceptable, errors.UpgradeRequired, errors.TooManyStreams)
_TASK = (*_QUERY, errors.TaskNotFound, errors.RecordDamaged, *_STORE)
_LOG = (errors.TooManyEvents, errors.LogTooLarge)
_STARTS = (
    errors.UnknownType,
    errors.InvalidParams,
    errors.IdempotencyMismatch,
    errors.TooManyTasks,
    errors.TooManyKeys,
    errors.Draining,
)

_TASKS = {
    ("/tasks", "post"): Operation(
        "start_task",
        "Tasks",
        "Start a task",
        {
            _OK: Answer(
                "The task that was started with this Idempotency-Key before, or that this start has joined; or the "
                "stream of the task.",
                {JSON: ref("Task"), SSE: _STREAM},
                ("Location",),
            ),
            _CREATED: _json("Task", "The task is stored.", "Location"),
        },
        (
            *_QUERY,
            *_BODY,
            *_STARTS,
            *_STREAMS,
            errors.KeyBusy,
            errors.TaskNotFound,
            errors.RecordDamaged,  # the key has started a task that cannot be read
            *_STORE,
        ),
        ("Idempotency-Key",),
        ref(StartFields.__name__),
        description="With `Accept: text/event-stream` the answer is the stream of the task.",
    ),
    ("/tasks", "get"): Operation(
        "list_tasks",
        "Tasks",
        "Find tasks",
        {_OK: _json("TaskPage", "One page.")},
        (*_QUESTION, errors.BadCursor),
        (*QUESTION, "sort", "limit", "cursor"),
        description="A page may be short, or even empty, and not the last one: go on as long as there is a cursor.",
    ),
    ("/tasks", "delete"): Operation(
        "delete_tasks",
        "Tasks",
        "Forget many tasks",
        {_OK: _json("BulkDelete", "Those that have ended are gone.")},
        (*_QUESTION, *_BODY),
        (*QUESTION, "sort", "bulk_limit", "dry_run"),
        description="There must be a filter, a `q` or a `preset`.",
    ),
    ("/tasks/count", "get"): Operation(
        "count_tasks",
        "Tasks",
        "Count tasks",
        {_OK: _json("TaskCount", "How many there are.")},
        _QUESTION,
        (*QUESTION, "group_by"),
    ),
    ("/tasks/cancel", "post"): Operation(
        "cancel_tasks",
        "Tasks",
        "Cancel many tasks",
        {_OK: _json("BulkCancel", "Those that had not ended are cancelled.")},
        (*_QUESTION, *_BODY, errors.Draining),
        (*QUESTION, "sort", "bulk_limit", "dry_run"),
        ref(CancelFields.__name__),
        body_required=False,
        description="There must be a filter, a `q` or a `preset`.",
    ),
}

_ONE_TASK = {
    ("/tasks/{id}", "get"): Operation(
        "get_task",
        "Task",
        "Look up a task",
        {_OK: _json("Task", "The task, at once or after `wait_s`.")},
        (*_TASK, errors.TooManyStreams),
        ("task_id", "wait_s"),
    ),
    ("/tasks/{id}", "patch"): Operation(
        "report_task",
        "External tasks",
        "Report progress, a sign of life, or how the work has ended",
        {_OK: _json("Task", "The task. Its `cancel` is not null once somebody wants the work to stop.")},
        (
            *_TASK,
            *_BODY,
            errors.TaskTerminal,
            errors.StatusConflict,
            errors.NotExternal,
            errors.KeyBusy,
            *_LOG,
            errors.Draining,
        ),
        ("task_id",),
        ref(ReportFields.__name__),
    ),
    ("/tasks/{id}", "delete"): Operation(
        "delete_task",
        "Task",
        "Forget a task that has ended",
        {_NOTHING: Answer("Its record and its log are gone.")},
        (*_TASK, *_BODY, errors.TaskActive),
        ("task_id",),
    ),
    ("/tasks/{id}/cancel", "post"): Operation(
        "cancel_task",
        "Task",
        "Cancel a task",
        {
            _OK: _json("Task", "It has stopped."),
            _ACCEPTED: _json("Task", "It is still stopping, or nobody waits for that."),
        },
        (*_TASK, *_BODY, errors.TaskTerminal, errors.TooManyStreams, errors.Draining),
        ("task_id", "wait_s"),
        ref(CancelFields.__name__),
        body_required=False,
    ),
    ("/tasks/{id}/retry", "post"): Operation(
        "retry_task",
        "Task",
        "Start a task that has ended once more",
        {
            _OK: _json("Task", "The task that was started with this Idempotency-Key before.", "Location"),
            _CREATED: _json("Task", "The new task; its `retry_of` names the old one.", "Location"),
        },
        (*_TASK, *_BODY, *_STARTS, errors.TaskActive),
        ("task_id", "Idempotency-Key"),
    ),
    ("/tasks/{id}/extend", "post"): Operation(
        "extend_task",
        "Task",
        "Move the deadlines of a task",
        {_OK: _json("Task", "The task.")},
        (*_TASK, *_BODY, errors.TaskTerminal, errors.TimeOver, errors.Draining),
        ("task_id",),
        ref(ExtendFields.__name__),
    ),
    ("/tasks/{id}/input", "post"): Operation(
        "send_input",
        "Task",
        "Send something into a task",
        {_ACCEPTED: _json("InputReceipt", "It is in the log; nobody knows when its handler reads it.")},
        (*_TASK, *_BODY, errors.TaskTerminal, errors.TooManyInputs, *_LOG, errors.Draining),
        ("task_id",),
        ref(InputFields.__name__),
    ),
    ("/tasks/{id}/ack", "post"): Operation(
        "acknowledge_task",
        "Task",
        "Say that the result was seen",
        {_OK: _json("Task", "The task.")},
        (*_TASK, *_BODY, errors.TaskActive),
        ("task_id",),
    ),
    ("/tasks/{id}/history", "get"): Operation(
        "get_history",
        "Task",
        "Every status that a task has had",
        {_OK: _json("History", "Its changes, the first one first.")},
        _TASK,
        ("task_id",),
    ),
}

_EVENTS = {
    ("/tasks/{id}/events", "get"): Operation(
        "read_events",
        "Events",
        "Read the log of a task",
        {
            _OK: Answer(
                "A stream, or one page, as `Accept` asks for.",
                {SSE: _STREAM, NDJSON: _LINES, JSON: ref("EventPage")},
            ),
            _NOTHING: Answer("A stream that nothing will follow any more: stop asking."),
        },
        (*_TASK, *_STREAMS, errors.BadCursor),
        ("task_id", "Last-Event-ID", "last_event_id", "tail", "event_limit"),
        by_token=True,
    ),
    ("/tasks/{id}/stream-token", "post"): Operation(
        "give_stream_token",
        "Events",
        "Get a token for a URL",
        {_CREATED: _json("StreamToken", "It opens the events of this task for some minutes, and nothing else.")},
        (*_TASK, *_BODY),
        ("task_id",),
        description="For EventSource, which sends no headers: `?stream_token=` stands in the URL.",
    ),
    ("/tasks/{id}/events", "post"): Operation(
        "report_events",
        "External tasks",
        "Report events",
        {_OK: _json("Task", "The task. Its `cancel` is not null once somebody wants the work to stop.")},
        (*_TASK, *_BODY, errors.TaskTerminal, errors.NotExternal, errors.KeyBusy, *_LOG, errors.Draining),
        ("task_id",),
        EVENTS,
        description="A report is taken whole, or not at all.",
    ),
    ("/events", "get"): Operation(
        "follow_feed",
        "Events",
        "Follow the events of all tasks",
        {_OK: Answer("The feed; it ends when the server does.", {SSE: _STREAM})},
        (*_QUERY, *_STREAMS, errors.BadCursor, *_STORE),
        ("Last-Event-ID", "last_event_id", "tail", "event_type", "event_task_type", "event_tag"),
    ),
}

_SERVER = {
    ("/stats", "get"): Operation(
        "get_statistics",
        "Server",
        "What tasks have done",
        {_OK: _json("Statistics", "Of the tasks that have ended in the window.")},
        _QUESTION,
        ("window", "figures_type", "by"),
    ),
    ("/audit", "get"): Operation(
        "audit",
        "Server",
        "Whether all is well",
        {_OK: _json("Audit", "What was looked at, and every violation of an invariant; also with violations.")},
        (*_QUERY, errors.QueryTooSlow, errors.Draining, *_STORE),
        ("repair", "audit_limit"),
        description="With `repair=true` what can be put right safely is. HEAD puts nothing right.",
    ),
    ("/audit/diary", "get"): Operation(
        "get_diary",
        "Server",
        "What has happened last",
        {_OK: _json("Diary", "The last facts that decide who comes first, in their order.")},
        _QUERY,
    ),
    ("/types", "get"): Operation(
        "list_types", "Server", "What can be started", {_OK: _json("TypePage", "The task types.")}
    ),
    ("/healthz", "get"): Operation(
        "get_health", "Server", "Whether the process is alive", {_OK: _json("Health", "It is.")}, guarded=False
    ),
    ("/readyz", "get"): Operation(
        "get_readiness",
        "Server",
        "Whether a start would be accepted",
        {_OK: _json("Readiness", "It would.")},
        (errors.Draining, *_STORE),
        guarded=False,
    ),
    (OPENAPI_JSON, "get"): Operation(
        "get_description",
        "Server",
        "This description",
        {_OK: Answer("OpenAPI 3.1.", {JSON: {"type": "object", "required": ["openapi", "info", "paths"]}})},
    ),
}

#: All of them, by path and method.
OPERATIONS: Mapping[tuple[str, str], Operation] = MappingProxyType({**_TASKS, **_ONE_TASK, **_EVENTS, **_SERVER})
