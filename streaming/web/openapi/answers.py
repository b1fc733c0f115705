"""What answers look like: JSON Schemas of everything that the server sends.

They are open: a client has to bear fields that it does not know. All fields that are here are always there, unless
`optional` says otherwise.

Owns:   the schema of each answer, by name.
Uses:   the enums of the product, so that no word is written twice.
Never:  describes what clients send (``web.openapi.bodies``).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, get_args

from streaming.engine.diary import KINDS
from streaming.engine.registry import OnInterrupt, RunIn
from streaming.records import CancelOutcome
from streaming.rules.access import Scope
from streaming.rules.breaker import Circuit
from streaming.rules.invariants import INVARIANTS
from streaming.web.problems import CODES, TITLES

Schema = dict[str, Any]

STATUS = "TaskStatus"
PRIORITY = "Priority"


def ref(name: str) -> Schema:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    """A schema, or null."""
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _of(description: str, properties: dict[str, Schema], *, optional: Collection[str] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "required": required, "properties": properties}


def _with(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _list_of(name: str) -> Schema:
    return {"type": "array", "items": ref(name)}


TASK_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_TRACEPARENT: Schema = {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$"}
_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_YES_OR_NO: Schema = {"type": "boolean"}
_ANYTHING: Schema = {}
_PERCENT: Schema = {"type": "number", "minimum": 0, "maximum": 100}
_SHARE: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}


def _word(*possible: str) -> Schema:
    return {"type": "string", "enum": list(map(str, possible))}


_DEADLINES: dict[str, Schema] = {
    "queue_timeout_s": _with(or_null(_SECONDS), "Seconds it may wait for its turn; null is no limit."),
    "heartbeat_timeout_s": _with(or_null(_SECONDS), "Seconds a run may be silent; null is no limit."),
    "total_timeout_s": _with(or_null(_SECONDS), "Seconds from the start to the end; null is no limit."),
}

_TASK = _of(
    "A task.",
    {
        "id": TASK_ID,
        "type": _with(_TEXT, "Name of its task type."),
        "status": ref(STATUS),
        "params": {"type": "object", "description": "As they were sent, with the defaults of those left out."},
        "priority": ref(PRIORITY),
        "key": _with(or_null(_TEXT), "Tasks with the same key run one after the other."),
        "external_id": _with(or_null(_TEXT), "What it is called elsewhere."),
        "parent": _with(or_null(TASK_ID), "The task that has started this one."),
        "retry_of": _with(or_null(TASK_ID), "The ended task that this one repeats."),
        "tags": {"type": "array", "items": _TEXT},
        "attempt": {"type": "integer", "minimum": 1, "description": "1 for the first run, one more for each other."},
        "retries_left": _with(_COUNT, "Failed attempts that may still be followed by another one."),
        "retry_at": _with(or_null(_TIME), "When the next attempt begins."),
        "progress": or_null(ref("Progress")),
        "steps": or_null(ref("Steps")),
        "eta": _with(or_null(ref("Eta")), "When it may end; null where nobody can tell."),
        "result": _with(_ANYTHING, "What the handler returned: any JSON value."),
        "error": _with(or_null(ref("TaskError")), "Why there is no result."),
        "cancel": _with(or_null(ref("CancelReceipt")), "The receipt of a cancel."),
        "timeout_s": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds one run may take."},
        **_DEADLINES,
        "retry": ref("RetryPolicy"),
        "on_unwatched": {
            "oneOf": [{"const": "continue"}, ref("UnwatchedFields")],
            "description": "What happens once nobody watches it any more.",
        },
        "keep_until_ack": _with(_YES_OR_NO, "Its record stays until its result was acknowledged."),
        "last_seq": _with(_COUNT, "The seq of its last event."),
        "client_seq": _with(_COUNT, "The number of the last event that an external worker has reported."),
        "created_by": _with(_TEXT, "The principal who started it."),
        "tenant": _with(or_null(_TEXT), "Of that principal; null for one without."),
        "traceparent": _with(or_null(_TRACEPARENT), "Where in which trace it belongs; null if it is in none."),
        "created_at": _TIME,
        "started_at": _with(or_null(_TIME), "When its last run began."),
        "updated_at": _with(_TIME, "When its record changed."),
        "heartbeat_at": _with(or_null(_TIME), "When it was heard of last."),
        "finished_at": _with(or_null(_TIME), "When it ended."),
        "acked_at": _with(or_null(_TIME), "When its result was acknowledged."),
    },
)

_PARTS_OF_A_TASK = {
    "Progress": _of("How far a task is.", {"percent": _PERCENT, "message": or_null(_TEXT)}),
    "Steps": _of(
        "How many steps of a task are done.", {"completed": _COUNT, "total": or_null(_COUNT), "current": or_null(_TEXT)}
    ),
    "Eta": _of("When a task may end: between two times.", {"earliest": _TIME, "latest": _TIME}),
    "TaskError": _of(
        "Why a task has no result.", {"code": _with(_TEXT, "For programs."), "message": _with(_TEXT, "For people.")}
    ),
    "RetryPolicy": _of(
        "What follows a failed attempt.",
        {
            "retries": _with(_COUNT, "Attempts after the first, at most."),
            "backoff_s": _with(_SECONDS, "The longest pause before the first retry; it doubles with each."),
            "backoff_max_s": _with(_SECONDS, "The longest pause of all."),
            "on": {
                "type": "array",
                "items": _TEXT,
                "description": "Error codes, or names of exception classes; empty means whatever a handler raises.",
            },
        },
    ),
    "CancelReceipt": _of(
        "What became of the wish to cancel a task.",
        {
            "requested_at": _TIME,
            "by": _with(_TEXT, "The principal who asked."),
            "reason": _TEXT,
            "delivered_at": _with(
                or_null(_TIME), "When the handler was cancelled; null while something holds it back."
            ),
            "stopped_at": _with(or_null(_TIME), "When the handler had ended."),
            "outcome": _with(
                _word(*CancelOutcome),
                "requested: still stopping; completed: it ended by itself before; ignored: its handler goes on.",
            ),
            "where": _with(or_null(_TEXT), "Where the handler went on; with ignored only."),
            "declined": _with(_YES_OR_NO, "The handler took the cancel back; with ignored only."),
        },
        optional=("where", "declined"),
    ),
}

_EVENT = _of(
    "Something that happened to a task; it never changes.",
    {
        "seq": {"type": "integer", "minimum": 1, "description": "Its place in the log of the task, without holes."},
        "task_id": TASK_ID,
        "type": {"type": "string", "description": "What happened: a status, a type of the server, or of the handler."},
        "time": _TIME,
        "data": _with(_ANYTHING, "Any JSON value, by the type."),
    },
)

_BULK = {
    "matched": _with(_COUNT, "Tasks that were taken, or would be."),
    "more": _with(_YES_OR_NO, "Others are left: ask again."),
    "refused": _list_of("Refusal"),
}

_FIGURES: dict[str, Schema] = {
    "tasks": _with(_COUNT, "So many have ended."),
    "by_status": {"type": "object", "additionalProperties": _COUNT, "propertyNames": ref(STATUS)},
    "per_minute": {"type": "number", "minimum": 0},
    "success_share": _with(_SHARE, "So many of them are completed; null without tasks."),
    "retry_share": _with(_SHARE, "So many were repeated, or repeat another one; null without tasks."),
    "waiting": ref("Durations"),
    "running": ref("Durations"),
}

_PAGES = {
    "TaskPage": _of(
        "One page of tasks.",
        {
            "tasks": _list_of("Task"),
            "next_cursor": _with(or_null(_TEXT), "Ask with it for the next page; null on the last one."),
        },
    ),
    "TaskCount": _of(
        "How many tasks there are.",
        {
            "count": _COUNT,
            "groups": {
                "type": "array",
                "description": "One for each combination of values, the largest first.",
                "items": {
                    "type": "object",
                    "required": ["count"],
                    "properties": {"count": _COUNT},
                    "additionalProperties": or_null(_TEXT),
                },
            },
        },
    ),
    "EventPage": _of(
        "One page of a log.",
        {
            "events": _list_of("Event"),
            "next_cursor": _with(
                or_null(_COUNT), "Ask with it, as last_event_id, for the next page; null at the head."
            ),
        },
    ),
    "History": _of("Every status that a task has had, the first one first.", {"changes": _list_of("Change")}),
    "Change": _of(
        "One change of a status.",
        {
            "seq": {"type": "integer", "minimum": 1, "description": "Of its event."},
            "from": or_null(ref(STATUS)),
            "to": ref(STATUS),
            "time": _TIME,
            "by": _with(_TEXT, "A principal, server or handler."),
            "reason": _TEXT,
            "lasted_s": _with(or_null(_SECONDS), "How long the new status lasted; null for the present one."),
        },
    ),
    "BulkCancel": _of("What a bulk cancel has done.", {**_BULK, "cancelled": _COUNT}),
    "BulkDelete": _of("What a bulk delete has done.", {**_BULK, "deleted": _COUNT}),
    "Refusal": _of("A task that was left as it is, and why.", {"id": TASK_ID, "code": ref("Code"), "detail": _TEXT}),
    "InputReceipt": _of("The event that an input became.", {"seq": {"type": "integer", "minimum": 1}}),
}

_STATISTICS = {
    "Durations": _of(
        "Durations, and what so many of a hundred do not exceed; null where there are none.",
        {"count": _COUNT, **{name: or_null(_SECONDS) for name in ("mean_s", "p50_s", "p95_s", "p99_s")}},
    ),
    "Figures": _of("What some tasks have done.", _FIGURES),
    "TypeFigures": _of("What the tasks of one type have done.", {"type": _TEXT, **_FIGURES}),
    "BucketFigures": _of("What the tasks have done that ended in one hour or day.", {"start": _TIME, **_FIGURES}),
    "Statistics": _of(
        "What tasks that have ended in a window of time have done.",
        {
            "window": _TEXT,
            "since": _TIME,
            "until": _TIME,
            "sampled": _with(_YES_OR_NO, "There were too many: the oldest do not count, and since is later."),
            "total": ref("Figures"),
            "types": _list_of("TypeFigures"),
            "buckets": _list_of("BucketFigures"),
        },
    ),
}

#: What kinds of facts have besides: a number, and words.
_OF_FACTS: dict[str, Schema] = {
    **{name: _COUNT for name, *_ in KINDS.values() if name},
    **{name: _TEXT for _, *names in KINDS.values() for name in names},
}

_AUDIT = {
    "Audit": _of(
        "What an audit says.",
        {
            "checked": _of("How much was looked at.", dict.fromkeys(("live", "ended", "events", "logs"), _COUNT)),
            "whole": _with(_YES_OR_NO, "That was all there is, and not only as much as one audit may read."),
            "found": _with(_COUNT, "How many violations there are; not all of them are named if there are very many."),
            "violations": _list_of("Violation"),
            "repaired": _list_of("Repair"),
        },
    ),
    "Violation": _of(
        "An invariant that does not hold.",
        {"invariant": _word(*INVARIANTS), "task_id": or_null(TASK_ID), "detail": _TEXT},
    ),
    "Repair": _of(
        "A violation that was put right.", {"invariant": _word(*INVARIANTS), "task_id": or_null(TASK_ID), "done": _TEXT}
    ),
    "Diary": _of(
        "The last facts, the oldest first.",
        {
            "time": _with(_TIME, "Now."),
            "now": _with(_SECONDS, "The same on the clock of the facts."),
            "facts_max": _with(_COUNT, "So many facts are kept."),
            "facts": _list_of("Fact"),
        },
    ),
    "Fact": _of(
        "Something that has happened; a kind of fact has fields of its own.",
        {"at": {"type": "number"}, "fact": _word(*KINDS), "task_id": or_null(TASK_ID), **_OF_FACTS},
        optional=_OF_FACTS,
    ),
}

_SERVER = {
    "TypePage": _of("What can be started.", {"types": _list_of("TaskType")}),
    "TaskType": _of(
        "What can be started, and how it is run.",
        {
            "name": _TEXT,
            "description": _TEXT,
            "run_in": _word(*get_args(RunIn)),
            "timeout_s": _SECONDS,
            "on_interrupt": _word(*get_args(OnInterrupt)),
            "attempts_max": {"type": "integer", "minimum": 1},
            "max_running": {"type": ["integer", "null"], "minimum": 1},
            "retry": ref("RetryPolicy"),
            **_DEADLINES,
            "params_schema": {"type": "object", "description": "JSON Schema (2020-12) of its parameters."},
        },
    ),
    "Principal": _of(
        "Who is calling.",
        {
            "name": _TEXT,
            "tenant": {"type": ["string", "null"]},
            "anonymous": _with(_YES_OR_NO, "Whether it stands for everybody who has no credential."),
            "scopes": {"type": "array", "items": _word(*Scope), "description": "All that it may do."},
            "expires_at": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "When the credential is over.",
            },
        },
    ),
    "Health": _of(
        "The process is alive; and what it is, on a server that asks for no credentials.",
        {
            "status": {"const": "ok"},
            "version": _TEXT,
            "store": _of(
                "What keeps tasks and events.",
                {
                    "kind": {"type": "string", "enum": ["memory", "sqlite", "postgresql"]},
                    "durable": _YES_OR_NO,
                    "survives": _with(_TEXT, "What it survives."),
                    "synchronous": _with(_TEXT, "Of SQLite."),
                    "breaker": _with(_word(*Circuit), "Of PostgreSQL."),
                },
                optional=("synchronous", "breaker"),
            ),
        },
        optional=("version", "store"),
    ),
    "Readiness": _of(
        "A start would be accepted.",
        {
            "status": {"const": "ready"},
            "warnings": _with({"type": "array", "items": _TEXT}, "What whoever runs this server ought to know."),
        },
    ),
    "StreamToken": _of(
        "A credential that may stand in a URL.",
        {"token": _TEXT, "expires_at": _TIME, "url": _with(_TEXT, "The path of the stream, with the token.")},
    ),
}

_PROBLEMS = {
    "Code": {"type": "string", "enum": sorted(CODES), "description": "What is wrong, for programs."},
    "FieldError": _of("One wrong field.", {"field": _with(_TEXT, "Its dotted path."), "message": _TEXT}),
    "Problem": _of(
        "What is wrong with a request, or with the server (RFC 9457).",
        {
            "type": {"const": "about:blank"},
            "title": {"type": "string", "enum": sorted(TITLES.values())},
            "status": {"type": "integer", "enum": sorted(TITLES)},
            "code": ref("Code"),
            "detail": {"type": "string", "minLength": 1, "description": "For people; it may change."},
            "errors": {"type": "array", "items": ref("FieldError"), "description": "One for each wrong field."},
            "drain": _with(ref("DrainOutlook"), "Of `/readyz` of a server that stops."),
        },
        optional=("drain",),
    ),
}

#: All of them.
ANSWERS: dict[str, Schema] = {
    "Task": _TASK,
    **_PARTS_OF_A_TASK,
    "Event": _EVENT,
    **_PAGES,
    **_STATISTICS,
    **_SERVER,
    **_AUDIT,
    **_PROBLEMS,
}
