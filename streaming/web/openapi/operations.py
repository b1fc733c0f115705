"""Every operation: what it takes, what it answers, and how it refuses.

Owns:   the table of operations; those of tasks and of their events.
Uses:   web.openapi.about (those of the server), operation (what they have in common), parameters, bodies, answers and
        examples, by name.
Never:  knows a limit, or a handler.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streaming import errors
from streaming.web.fields import CancelFields, ExtendFields, InputFields, ReportFields, StartFields
from streaming.web.openapi.about import SERVER
from streaming.web.openapi.answers import ref
from streaming.web.openapi.bodies import EVENTS
from streaming.web.openapi.operation import (
    ACCEPTED,
    ASKING,
    BODY,
    CREATED,
    ITEMS,
    LINES,
    LOG,
    NOTHING,
    OK,
    QUERY,
    STARTS,
    STORE,
    STREAM,
    STREAMS,
    TASK,
    Answer,
    Body,
    Operation,
    json_answer,
)
from streaming.web.openapi.parameters import QUESTION
from streaming.web.openapi.watches import WATCHES
from streaming.web.reply import JSON, NDJSON, SSE

_REASON = Body("Why, for every reader.", ref(CancelFields.__name__), ("Cancel",), required=False)

#: A filter, and nothing that cannot be taken back.
_DRY = "tag=nightly&dry_run=true"

_TASKS = {
    ("/tasks", "post"): Operation(
        "start_task",
        "Tasks",
        "Start a task",
        {
            OK: Answer(
                "The task that was started with this Idempotency-Key before, or that this start has joined; or the "
                "stream of the task.",
                {JSON: ref("Task"), SSE: STREAM},
                ("Location",),
                {JSON: ("Task",), SSE: ("Stream",)},
                ITEMS,
            ),
            CREATED: json_answer("Task", "The task is stored.", "Location", examples=("Task.pending",)),
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
        ("Idempotency-Key", "traceparent", "tracestate"),
        Body("What to start, and how.", ref(StartFields.__name__), ("Start", "Start.options", "Start.external")),
        description="The task is stored when the answer comes; it runs when its turn comes. With "
        "`Accept: text/event-stream` the answer is the stream of the task: start and watch in one request.",
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
        description="Removes records and logs of tasks that have ended; the others are not touched. There must be a "
        "filter, a `q` or a `preset`.",
        query=_DRY,
    ),
    ("/tasks/count", "get"): Operation(
        "count_tasks",
        "Tasks",
        "Count tasks",
        {OK: json_answer("TaskCount", "How many there are.")},
        ASKING,
        (*QUESTION, "group_by"),
        description="Counts all tasks that the filters mean; with `group_by` also those of each group.",
    ),
    ("/tasks/cancel", "post"): Operation(
        "cancel_tasks",
        "Tasks",
        "Cancel many tasks",
        {OK: json_answer("BulkCancel", "Those that had not ended are cancelled.")},
        (*ASKING, *BODY, errors.Draining),
        (*QUESTION, "sort", "bulk_limit", "dry_run"),
        _REASON,
        description="The wish is stored for each of them; nobody waits for their ends. There must be a filter, a `q` "
        "or a `preset`.",
        query=_DRY,
    ),
}

_ONE_TASK = {
    ("/tasks/{id}", "get"): Operation(
        "get_task",
        "Task",
        "Look up a task",
        {OK: json_answer("Task", "The task, at once or after `wait_s`.", examples=("Task", "Task.completed"))},
        (*TASK, errors.TooManyStreams),
        ("task_id", "wait_s"),
        description="With `wait_s` the answer comes when the task has ended, or after that time.",
    ),
    ("/tasks/{id}", "patch"): Operation(
        "report_task",
        "External tasks",
        "Report progress, a sign of life, or how the work has ended",
        {
            OK: json_answer(
                "Task",
                "The task. Its `cancel` is not null once somebody wants the work to stop.",
                examples=("Task.external",),
            )
        },
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
        Body(
            "What there is to say about the work.",
            ref(ReportFields.__name__),
            ("Report.progress", "Report.steps", "Report.heartbeat", "Report.completed", "Report.failed"),
        ),
        description="For the worker of an external task. The first report makes it `running`.",
    ),
    ("/tasks/{id}", "delete"): Operation(
        "delete_task",
        "Task",
        "Forget a task that has ended",
        {NOTHING: Answer("Its record and its log are gone.")},
        (*TASK, *BODY, errors.TaskActive),
        ("task_id",),
        description="Removes the record and the log of one task; one that has not ended is a 409.",
    ),
    ("/tasks/{id}/cancel", "post"): Operation(
        "cancel_task",
        "Task",
        "Cancel a task",
        {
            OK: json_answer("Task", "It has stopped.", examples=("Task.cancelled",)),
            ACCEPTED: json_answer(
                "Task", "It is still stopping, or nobody waits for that.", examples=("Task.cancelling",)
            ),
        },
        (*TASK, *BODY, errors.TaskTerminal, errors.TooManyStreams, errors.Draining),
        ("task_id", "wait_s"),
        _REASON,
        description="The wish is stored before the handler is cancelled, and `cancel` is its receipt. Asking again "
        "gives the same receipt.",
    ),
    ("/tasks/{id}/retry", "post"): Operation(
        "retry_task",
        "Task",
        "Start a task that has ended once more",
        {
            OK: json_answer(
                "Task",
                "The task that was started with this Idempotency-Key before.",
                "Location",
                examples=("Task.retried",),
            ),
            CREATED: json_answer(
                "Task", "The new task; its `retry_of` names the old one.", "Location", examples=("Task.retried",)
            ),
        },
        (*TASK, *BODY, *STARTS, errors.TaskActive),
        ("task_id", "Idempotency-Key", "traceparent", "tracestate"),
        description="A new task with the type, parameters and options of the old one, which stays as it is.",
    ),
    ("/tasks/{id}/extend", "post"): Operation(
        "extend_task",
        "Task",
        "Move the deadlines of a task",
        {OK: json_answer("Task", "The task.")},
        (*TASK, *BODY, errors.TaskTerminal, errors.TimeOver, errors.Draining),
        ("task_id",),
        Body("New lengths in seconds.", ref(ExtendFields.__name__), ("Extend", "Extend.unlimited")),
        description="Each length counts from where it has counted before; null takes a limit away.",
    ),
    ("/tasks/{id}/input", "post"): Operation(
        "send_input",
        "Task",
        "Send something into a task",
        {ACCEPTED: json_answer("InputReceipt", "It is in the log; nobody knows when its handler reads it.")},
        (*TASK, *BODY, errors.TaskTerminal, errors.TooManyInputs, *LOG, errors.Draining),
        ("task_id",),
        Body("What the handler is to get.", ref(InputFields.__name__), ("Input",)),
        description="The input becomes an event of the task, and the handler reads it when it asks for one.",
    ),
    ("/tasks/{id}/ack", "post"): Operation(
        "acknowledge_task",
        "Task",
        "Say that the result was seen",
        {OK: json_answer("Task", "The task.", examples=("Task.acknowledged",))},
        (*TASK, *BODY, errors.TaskActive),
        ("task_id",),
        description="The first time counts. A record with `keep_until_ack` stays until then.",
    ),
    ("/tasks/{id}/history", "get"): Operation(
        "get_history",
        "Task",
        "Every status that a task has had",
        {OK: json_answer("History", "Its changes, the first one first.")},
        TASK,
        ("task_id",),
        description="When each status began, how long it lasted, and who had brought it about.",
    ),
    ("/tasks/{id}/why", "get"): Operation(
        "explain_task",
        "Task",
        "Why it is still running",
        {OK: json_answer("Why", "What it waits for, where, and since when; or how it has ended.")},
        TASK,
        ("task_id",),
        description="Looked at in the moment of the question; with how long past runs of its type took.",
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
                {SSE: STREAM, NDJSON: LINES, JSON: ref("EventPage")},
                examples={SSE: ("Stream",), NDJSON: ("Lines",), JSON: ("EventPage",)},
                items=ITEMS,
            ),
            NOTHING: Answer("A stream that nothing will follow any more: stop asking."),
        },
        (*TASK, *STREAMS, errors.BadCursor),
        ("task_id", "Last-Event-ID", "last_event_id", "tail", "event_limit"),
        description="From the first event on, or behind the one that was seen last. A stream goes on until the task "
        "has ended: what is in the log and what happens now come as one. A client that leaves does not touch the "
        "task.\n\n"
        "- `text/event-stream` is for EventSource and its like; it is what comes without `Accept`.\n"
        "- `application/x-ndjson` has one event a line.\n"
        "- `application/json` is one page, and ends at once.",
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
        {
            OK: json_answer(
                "Task",
                "The task. Its `cancel` is not null once somebody wants the work to stop.",
                examples=("Task.external",),
            )
        },
        (*TASK, *BODY, errors.TaskTerminal, errors.NotExternal, errors.KeyBusy, *LOG, errors.Draining),
        ("task_id",),
        Body("One event, or several.", EVENTS, ("Event.reported", "Events.reported")),
        description="A report is taken whole, or not at all.",
    ),
    ("/events", "get"): Operation(
        "follow_feed",
        "Events",
        "Follow the events of all tasks",
        {OK: Answer("The feed; it ends when the server does.", {SSE: STREAM}, examples={SSE: ("Feed",)}, items=ITEMS)},
        (*QUERY, *STREAMS, errors.BadCursor, *STORE),
        ("Last-Event-ID", "last_event_id", "tail", "event_type", "event_task_type", "event_tag"),
        description="Every event of every task that the caller may see, in the order in which they were stored. Each "
        "`id` is a place in the feed: to resume is as with a log.",
    ),
}

#: All of them, by path and method.
OPERATIONS: Mapping[tuple[str, str], Operation] = MappingProxyType(
    {**_TASKS, **_ONE_TASK, **_EVENTS, **WATCHES, **SERVER}
)
