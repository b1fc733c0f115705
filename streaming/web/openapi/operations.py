"""Every operation: what it takes, what it answers, and how it refuses.

Owns:   the table of operations.
Uses:   web.openapi.parameters, bodies and answers, by name.
Never:  knows a limit, or a handler.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streaming import errors
from streaming.web.fields import CancelFields, ExtendFields, InputFields, ReportFields, StartFields
from streaming.web.openapi.about import SERVER
from streaming.web.openapi.answers import Schema, ref
from streaming.web.openapi.bodies import EVENTS
from streaming.web.openapi.operation import (
    ACCEPTED,
    ASKING,
    BODY,
    CREATED,
    LOG,
    NOTHING,
    OK,
    QUERY,
    STARTS,
    STORE,
    STREAMS,
    TASK,
    Answer,
    Operation,
    json_answer,
)
from streaming.web.openapi.parameters import QUESTION
from streaming.web.reply import JSON, NDJSON, SSE

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


_TASKS = {
    ("/tasks", "post"): Operation(
        "start_task",
        "Tasks",
        "Start a task",
        {
            OK: Answer(
                "The task that was started with this Idempotency-Key before, or that this start has joined; or the "
                "stream of the task.",
                {JSON: ref("Task"), SSE: _STREAM},
                ("Location",),
            ),
            CREATED: json_answer("Task", "The task is stored.", "Location"),
        },
        (
            *QUERY,
            *BODY,
            *STARTS,
            *STREAMS,
            errors.KeyBusy,
            errors.TaskNotFound,
            errors.RecordDamaged,  # the key has started a task that cannot be read
            *STORE,
        ),
        ("Idempotency-Key",),
        ref(StartFields.__name__),
        description="With `Accept: text/event-stream` the answer is the stream of the task.",
    ),
    ("/tasks", "get"): Operation(
        "list_tasks",
        "Tasks",
        "Find tasks",
        {OK: json_answer("TaskPage", "One page.")},
        (*ASKING, errors.BadCursor),
        (*QUESTION, "sort", "limit", "cursor"),
        description="A page may be short, or even empty, and not the last one: go on as long as there is a cursor.",
    ),
    ("/tasks", "delete"): Operation(
        "delete_tasks",
        "Tasks",
        "Forget many tasks",
        {OK: json_answer("BulkDelete", "Those that have ended are gone.")},
        (*ASKING, *BODY),
        (*QUESTION, "sort", "bulk_limit", "dry_run"),
        description="There must be a filter, a `q` or a `preset`.",
    ),
    ("/tasks/count", "get"): Operation(
        "count_tasks",
        "Tasks",
        "Count tasks",
        {OK: json_answer("TaskCount", "How many there are.")},
        ASKING,
        (*QUESTION, "group_by"),
    ),
    ("/tasks/cancel", "post"): Operation(
        "cancel_tasks",
        "Tasks",
        "Cancel many tasks",
        {OK: json_answer("BulkCancel", "Those that had not ended are cancelled.")},
        (*ASKING, *BODY, errors.Draining),
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
        {OK: json_answer("Task", "The task, at once or after `wait_s`.")},
        (*TASK, errors.TooManyStreams),
        ("task_id", "wait_s"),
    ),
    ("/tasks/{id}", "patch"): Operation(
        "report_task",
        "External tasks",
        "Report progress, a sign of life, or how the work has ended",
        {OK: json_answer("Task", "The task. Its `cancel` is not null once somebody wants the work to stop.")},
        (
            *TASK,
            *BODY,
            errors.TaskTerminal,
            errors.StatusConflict,
            errors.NotExternal,
            errors.KeyBusy,
            *LOG,
            errors.Draining,
        ),
        ("task_id",),
        ref(ReportFields.__name__),
    ),
    ("/tasks/{id}", "delete"): Operation(
        "delete_task",
        "Task",
        "Forget a task that has ended",
        {NOTHING: Answer("Its record and its log are gone.")},
        (*TASK, *BODY, errors.TaskActive),
        ("task_id",),
    ),
    ("/tasks/{id}/cancel", "post"): Operation(
        "cancel_task",
        "Task",
        "Cancel a task",
        {
            OK: json_answer("Task", "It has stopped."),
            ACCEPTED: json_answer("Task", "It is still stopping, or nobody waits for that."),
        },
        (*TASK, *BODY, errors.TaskTerminal, errors.TooManyStreams, errors.Draining),
        ("task_id", "wait_s"),
        ref(CancelFields.__name__),
        body_required=False,
    ),
    ("/tasks/{id}/retry", "post"): Operation(
        "retry_task",
        "Task",
        "Start a task that has ended once more",
        {
            OK: json_answer("Task", "The task that was started with this Idempotency-Key before.", "Location"),
            CREATED: json_answer("Task", "The new task; its `retry_of` names the old one.", "Location"),
        },
        (*TASK, *BODY, *STARTS, errors.TaskActive),
        ("task_id", "Idempotency-Key"),
    ),
    ("/tasks/{id}/extend", "post"): Operation(
        "extend_task",
        "Task",
        "Move the deadlines of a task",
        {OK: json_answer("Task", "The task.")},
        (*TASK, *BODY, errors.TaskTerminal, errors.TimeOver, errors.Draining),
        ("task_id",),
        ref(ExtendFields.__name__),
    ),
    ("/tasks/{id}/input", "post"): Operation(
        "send_input",
        "Task",
        "Send something into a task",
        {ACCEPTED: json_answer("InputReceipt", "It is in the log; nobody knows when its handler reads it.")},
        (*TASK, *BODY, errors.TaskTerminal, errors.TooManyInputs, *LOG, errors.Draining),
        ("task_id",),
        ref(InputFields.__name__),
    ),
    ("/tasks/{id}/ack", "post"): Operation(
        "acknowledge_task",
        "Task",
        "Say that the result was seen",
        {OK: json_answer("Task", "The task.")},
        (*TASK, *BODY, errors.TaskActive),
        ("task_id",),
    ),
    ("/tasks/{id}/history", "get"): Operation(
        "get_history",
        "Task",
        "Every status that a task has had",
        {OK: json_answer("History", "Its changes, the first one first.")},
        TASK,
        ("task_id",),
    ),
}

_EVENTS = {
    ("/tasks/{id}/events", "get"): Operation(
        "read_events",
        "Events",
        "Read the log of a task",
        {
            OK: Answer(
                "A stream, or one page, as `Accept` asks for.",
                {SSE: _STREAM, NDJSON: _LINES, JSON: ref("EventPage")},
            ),
            NOTHING: Answer("A stream that nothing will follow any more: stop asking."),
        },
        (*TASK, *STREAMS, errors.BadCursor),
        ("task_id", "Last-Event-ID", "last_event_id", "tail", "event_limit"),
        by_token=True,
    ),
    ("/tasks/{id}/stream-token", "post"): Operation(
        "give_stream_token",
        "Events",
        "Get a token for a URL",
        {CREATED: json_answer("StreamToken", "It opens the events of this task for some minutes, and nothing else.")},
        (*TASK, *BODY),
        ("task_id",),
        description="For EventSource, which sends no headers: `?stream_token=` stands in the URL.",
    ),
    ("/tasks/{id}/events", "post"): Operation(
        "report_events",
        "External tasks",
        "Report events",
        {OK: json_answer("Task", "The task. Its `cancel` is not null once somebody wants the work to stop.")},
        (*TASK, *BODY, errors.TaskTerminal, errors.NotExternal, errors.KeyBusy, *LOG, errors.Draining),
        ("task_id",),
        EVENTS,
        description="A report is taken whole, or not at all.",
    ),
    ("/events", "get"): Operation(
        "follow_feed",
        "Events",
        "Follow the events of all tasks",
        {OK: Answer("The feed; it ends when the server does.", {SSE: _STREAM})},
        (*QUERY, *STREAMS, errors.BadCursor, *STORE),
        ("Last-Event-ID", "last_event_id", "tail", "event_type", "event_task_type", "event_tag"),
    ),
}

#: All of them, by path and method.
OPERATIONS: Mapping[tuple[str, str], Operation] = MappingProxyType({**_TASKS, **_ONE_TASK, **_EVENTS, **SERVER})
