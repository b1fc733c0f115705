"""Examples: what requests and answers look like, one for each thing that is described.

They are those of a server with the task types that come with it; a start of another type is left out where that type is
missing. Ids and times are of a day long ago. A test sends each request to a real server, and holds each answer against
its schema.

Owns:   the examples, by name; the values of parameters.
Uses:   web.problems (what a problem looks like).
Never:  says which operation has which (``web.openapi.task_operations``, ``web.openapi.operations``).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from streaming.errors import InvalidParams, StreamingError
from streaming.web.openapi.insight import why_example
from streaming.web.openapi.overview import METRICS_EXAMPLE, SERVER_EXAMPLE
from streaming.web.problems import INTERNAL, STATUSES, TITLES

#: Names of examples that only a server with this task type has.
_OF_TYPE = {"Start": "countdown", "Start.options": "countdown", "Start.external": "external"}


class Example(NamedTuple):
    """One of them.

    Attributes:
        summary: in a few words.
        value: any JSON value; of a stream, its text.
    """

    summary: str
    value: Any


_ID, _OLD_ID = "01a1faf2e1e272c28c97af9bddbf8148", "01a1faf2edc9754db31498444fdb2ce8"
_CREATED, _STARTED, _NOW = (f"2026-11-20T21:53:{second}Z" for second in ("03.970647", "03.980065", "05.994807"))

_TASK: dict[str, Any] = {
    "id": _ID,
    "type": "countdown",
    "status": "running",
    "params": {"count": 5, "interval": 1.0},
    "priority": "normal",
    "key": None,
    "external_id": None,
    "parent": None,
    "retry_of": None,
    "tags": ["nightly"],
    "attempt": 1,
    "retries_left": 0,
    "retry_at": None,
    "progress": {"percent": 40.0, "message": "2 of 5"},
    "steps": None,
    "eta": {"earliest": "2026-11-20T21:53:08.000000Z", "latest": "2026-11-20T21:53:11.000000Z"},
    "result": None,
    "error": None,
    "cancel": None,
    "timeout_s": 60.0,
    "queue_timeout_s": None,
    "heartbeat_timeout_s": None,
    "total_timeout_s": None,
    "retry": {"retries": 0, "backoff_s": 1.0, "backoff_max_s": 300.0, "on": []},
    "on_unwatched": "continue",
    "keep_until_ack": False,
    "last_seq": 6,
    "client_seq": 0,
    "created_by": "anonymous",
    "tenant": None,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "created_at": _CREATED,
    "started_at": _STARTED,
    "updated_at": _NOW,
    "heartbeat_at": _NOW,
    "finished_at": None,
    "acked_at": None,
}
_PENDING = {
    **_TASK,
    "status": "pending",
    "progress": None,
    "eta": None,
    "last_seq": 1,
    "started_at": None,
    "updated_at": _CREATED,
    "heartbeat_at": None,
}
_COMPLETED = {
    **_TASK,
    "status": "completed",
    "progress": {"percent": 100.0, "message": "5 of 5"},
    "eta": None,
    "result": {"count": 5},
    "last_seq": 13,
    "updated_at": "2026-11-20T21:53:09.001200Z",
    "finished_at": "2026-11-20T21:53:09.001200Z",
}
_CANCELLING = {
    **_TASK,
    "eta": None,
    "last_seq": 7,
    "cancel": {
        "requested_at": "2026-11-20T21:53:07.041020Z",
        "by": "anonymous",
        "reason": "enough",
        "delivered_at": "2026-11-20T21:53:07.041888Z",
        "stopped_at": None,
        "outcome": "requested",
    },
}
_STOPPED_AT = "2026-11-20T21:53:07.042289Z"
_CANCELLED = {
    **_CANCELLING,
    "status": "cancelled",
    "error": {"code": "cancelled", "message": "Cancelled by anonymous: enough."},
    "cancel": {**_CANCELLING["cancel"], "stopped_at": _STOPPED_AT, "outcome": "stopped"},
    "last_seq": 8,
    "updated_at": _STOPPED_AT,
    "finished_at": _STOPPED_AT,
}
_EXTERNAL = {
    **_TASK,
    "type": "external",
    "params": {"film": "seven"},
    "progress": {"percent": 40.0, "message": "frame 400"},
    "steps": {"completed": 2, "total": 5, "current": "encode"},
    "eta": None,
    "client_seq": 2,
}


def _event(seq: int, type: str, data: Any, time: str = _NOW) -> dict[str, Any]:
    return {"seq": seq, "task_id": _ID, "type": type, "time": time, "data": data}


_EVENTS = [
    _event(1, "pending", {}, _CREATED),
    _event(2, "running", {"attempt": 1}, _STARTED),
    _event(3, "tick", {"n": 1}),
    _event(4, "progress", {"percent": 100, "message": "1 of 1"}),
    _event(5, "completed", {"result": {"count": 1}}),
]


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"))


def _block(event: dict[str, Any], place: int) -> str:
    return f"id: {place}\nevent: {event['type']}\ndata: {_line(event)}\n\n"


_FIGURES = {
    "tasks": 40,
    "by_status": {"completed": 38, "failed": 2},
    "per_minute": 0.667,
    "success_share": 0.95,
    "retry_share": 0.0,
    "waiting": {"count": 40, "mean_s": 0.02, "p50_s": 0.01, "p95_s": 0.05, "p99_s": 0.1},
    "running": {"count": 40, "mean_s": 5.1, "p50_s": 5.0, "p95_s": 5.9, "p99_s": 6.3},
}
_TYPE = {
    "name": "greet",
    "description": "Greet somebody.",
    "run_in": "loop",
    "timeout_s": 3600.0,
    "on_interrupt": "report",
    "attempts_max": 3,
    "max_running": None,
    "retry": {"retries": 0, "backoff_s": 1.0, "backoff_max_s": 300.0, "on": []},
    "queue_timeout_s": None,
    "heartbeat_timeout_s": None,
    "total_timeout_s": None,
    "params_schema": {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    },
}
_BULK = {"matched": 2, "more": False, "refused": []}

_BODIES = {
    "Start": Example("A countdown", {"type": "countdown", "params": {"count": 5}}),
    "Start.options": Example(
        "With a time, a priority, a key, retries and tags",
        {
            "type": "countdown",
            "params": {"count": 5, "interval": 0.5},
            "timeout_s": 60,
            "priority": "high",
            "key": "report of today",
            "retry": {"retries": 2, "backoff_s": 5},
            "tags": ["nightly"],
        },
    ),
    "Start.external": Example(
        "Work that is done elsewhere",
        {"type": "external", "params": {"film": "seven"}, "external_id": "job 42", "heartbeat_timeout_s": 300},
    ),
    "Cancel": Example("With a reason", {"reason": "enough"}),
    "Extend": Example("Ten minutes for this run", {"timeout_s": 600}),
    "Extend.unlimited": Example("No limit from the start to the end", {"total_timeout_s": None}),
    "Input": Example("Any JSON value", {"data": {"answer": "yes"}}),
    "Event.reported": Example("One event", {"type": "frame", "data": {"n": 1}, "client_seq": 1}),
    "Events.reported": Example(
        "Several, each with the worker's number",
        {
            "events": [
                {"type": "frame", "data": {"n": 1}, "client_seq": 1},
                {"type": "frame", "data": {"n": 2}, "client_seq": 2},
            ]
        },
    ),
    "Report.progress": Example("How far it is", {"progress": {"percent": 40, "message": "frame 400"}}),
    "Report.steps": Example("Which step it is", {"steps": {"completed": 2, "total": 5, "current": "encode"}}),
    "Report.heartbeat": Example("A sign of life", {"heartbeat": True}),
    "Report.completed": Example("It is done", {"status": "completed", "result": {"bytes": 1048576}}),
    "Report.failed": Example(
        "It cannot be done", {"status": "failed", "error": {"code": "disk_full", "message": "There is no room."}}
    ),
}

_TASKS = {
    "Task": Example("A task that is running", _TASK),
    "Task.pending": Example("A new task", _PENDING),
    "Task.completed": Example("A task that is completed", _COMPLETED),
    "Task.cancelling": Example("A task that is to stop", _CANCELLING),
    "Task.cancelled": Example("A task that was cancelled", _CANCELLED),
    "Task.retried": Example("A new task that repeats an old one", {**_PENDING, "retry_of": _OLD_ID}),
    "Task.acknowledged": Example("A task whose result was seen", {**_COMPLETED, "acked_at": _NOW}),
    "Task.external": Example("A task whose work is done elsewhere", _EXTERNAL),
    "TaskPage": Example("A page, and the last one", {"tasks": [_TASK], "next_cursor": None}),
    "TaskCount": Example(
        "Counted by status",
        {"count": 42, "groups": [{"status": "completed", "count": 40}, {"status": "running", "count": 2}]},
    ),
    "BulkCancel": Example("Two were cancelled", {**_BULK, "cancelled": 2}),
    "BulkDelete": Example("Two are gone", {**_BULK, "deleted": 2}),
    "Why": Example("It sleeps", why_example(_ID, _CREATED, _STARTED, _NOW)),
    "InputReceipt": Example("Its event", {"seq": 4}),
    "History": Example(
        "From pending to running",
        {
            "changes": [
                {"seq": 1, "from": None, "to": "pending", "time": _CREATED, "by": "anonymous", "reason": ""}
                | {"lasted_s": 0.009418},
                {"seq": 2, "from": "pending", "to": "running", "time": _STARTED, "by": "server", "reason": ""}
                | {"lasted_s": None},
            ]
        },
    ),
}

_STREAMS = {
    "Stream": Example(
        "A task from its beginning to its end",
        "retry: 2000\n" + "".join(_block(event, event["seq"]) for event in _EVENTS),
    ),
    "Lines": Example("A task from its beginning to its end", "".join(f"{_line(event)}\n" for event in _EVENTS)),
    "Feed": Example("Two events", "retry: 2000\n" + _block(_EVENTS[0], 41) + _block(_EVENTS[1], 42)),
    "Watch": Example(
        "Where it begins, and the end of a log",
        f'retry: 2000\nid: f=41;l={_ID}:2\nevent: cursor\ndata: {{"feed":41,"logs":{{"{_ID}":2}}}}\n\n'
        f"id: f=41;l={_ID}:3\nevent: log\ndata: {_line(_EVENTS[-1])}\n\n"
        f'id: f=41;l={_ID}:3\nevent: end\ndata: {{"task_id":"{_ID}"}}\n\n',
    ),
    "Beats": Example("One beat", f'retry: 2000\nid: 1\nevent: beat\ndata: {{"n":1,"time":"{_NOW}"}}\n\n'),
    "EventPage": Example("A whole log", {"events": _EVENTS, "next_cursor": None}),
    "StreamToken": Example(
        "A token, and the path with it",
        {
            "token": "eyJhbGciOi...",
            "expires_at": "2026-11-20T21:58:03.970647Z",
            "url": f"/tasks/{_ID}/events?stream_token=eyJhbGciOi...",
        },
    ),
}

_SERVER = {
    "Statistics": Example(
        "Of an hour",
        {
            "window": "1h",
            "since": "2026-11-20T20:53:05.994807Z",
            "until": _NOW,
            "sampled": False,
            "total": _FIGURES,
            "types": [{"type": "countdown", **_FIGURES}],
            "buckets": [],
        },
    ),
    "Audit": Example(
        "All is well",
        {
            "checked": {"live": 2, "ended": 40, "events": 512, "logs": 42},
            "whole": True,
            "found": 0,
            "violations": [],
            "repaired": [],
        },
    ),
    "Diary": Example("Nothing has happened yet", {"time": _NOW, "now": 12.5, "facts_max": 512, "facts": []}),
    "TypePage": Example("One task type", {"types": [_TYPE]}),
    "Server": Example("It has little to do", SERVER_EXAMPLE),
    "Metrics": Example("One of them", METRICS_EXAMPLE),
    "Metrics.open": Example("The same, as OpenMetrics", f"{METRICS_EXAMPLE}# EOF\n"),
    "Principal": Example(
        "Everybody, of a server without credentials",
        {"name": "anonymous", "tenant": None, "anonymous": True, "scopes": ["tasks:read"], "expires_at": None},
    ),
    "Page": Example("The beginning of it", "<!doctype html>"),
    "File.css": Example("A style", "body { margin: 0 }"),
    "File.js": Example("A script", "export {}"),
    "File.svg": Example("An icon", '<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "Health": Example("It is alive", {"status": "ok"}),
    "Readiness": Example("It is ready", {"status": "ready", "warnings": []}),
    "Description": Example("The beginning of it", {"openapi": "3.1.0", "info": {"title": "streaming"}, "paths": {}}),
}

#: Values of parameters, by the name of the parameter's description.
PARAMETERS: Mapping[str, Any] = MappingProxyType(
    {
        "task_id": _ID,
        "Idempotency-Key": "order-42",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "congo=t61rcWkgMzE",
        "Last-Event-ID": "2",
        "last_event_id": "2",
        "watch_cursor_header": "f=0",
        "watch_cursor": "f=0",
        "watch_feed": "1",
        "watch_log": [f"{_ID}:1"],
        "wait_s": 0.5,
        "tail": 10,
        "event_limit": 100,
        "event_type": ["completed", "failed"],
        "event_task_type": ["countdown"],
        "event_tag": "nightly",
        "file": "page.css",
        "beats": 3,
        "interval_s": 0.1,
        "window": "24h",
        "figures_type": ["countdown"],
        "by": "hour",
        "repair": False,
        "audit_limit": 1000,
        "q": "example.com timeout",
        "preset": "failed",
        "sort": ["-created_at"],
        "limit": 20,
        "cursor": "ZMsZVMpXWyItY3JlYXRlZF9hdCwtaWQiLCIzZWI3YTcwNmZmODAiLCIyMDI2LTExLTMwVDEy"
        "OjIyOjMxLjQ5MDk4OFoiLCIwMWEyMmM2ODIxNDM3M2UzOWRlNzUwNDkyMWNlODExYSJd",
        "group_by": ["status"],
        "bulk_limit": 100,
        "dry_run": True,
        "comparisons": {"created_at[gte]": "2026-11-01T00:00:00Z", "progress[lt]": 50},
    }
)


def examples(task_types: Collection[str]) -> dict[str, Example]:
    """All examples that a server can have, without those of problems.

    Args:
        task_types: names of what it can start.
    """
    found = {**_BODIES, **_TASKS, **_STREAMS, **_SERVER}
    return {name: each for name, each in found.items() if _OF_TYPE.get(name) in (None, *task_types)}


def problem_example(kind: type[StreamingError]) -> Example:
    """A problem with the code of an error."""
    status = STATUSES[kind]
    if status is INTERNAL:
        return _problem(500, "internal", "A bug of the server; its log tells more.")
    words = (inspect.getdoc(kind) or "").split("\n")[0]
    wrong = {"field": "params.count", "message": "Input should be greater than or equal to 0"}
    return _problem(status, kind.code, words, *([wrong] if kind is InvalidParams else []))


def _problem(status: int, code: str, detail: str, *wrong: dict[str, str]) -> Example:
    value = {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "code": code,
        "detail": detail,
        "errors": list(wrong),
    }
    return Example(detail, value)
