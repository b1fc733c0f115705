"""What is said of running tasks: the answer of ``GET /tasks/{id}/why``, and what becomes of them in a drain.

Owns:   its schemas, by name; an example of it.
Uses:   web.openapi.answers (the parts of a task), the words of rules.why and rules.waits.
Never:  describes anything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from streaming.records import Record, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.drain import Outlook
from streaming.rules.lifecycle import TERMINAL, Cause
from streaming.rules.waits import Frame, Stack, Wait
from streaming.rules.why import Hindrance, Seen, why
from streaming.web.openapi.answers import STATUS, TASK_ID, Schema, or_null, ref

_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "number", "minimum": 0}


def _object(description: str, properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "description": description, "required": [*properties], "properties": properties}


def _words(words: Iterable[str], description: str) -> Schema:
    return {"type": "string", "enum": sorted(set(map(str, words))), "description": description}


def _list_of(items: Schema, description: str) -> Schema:
    return {"type": "array", "items": items, "description": description}


_REASONS = chain(
    (status for status in TaskStatus if status in TERMINAL), Wait, Hindrance, ("stopping", "protected", "worker")
)

_COUNTS: dict[str, Schema] = {
    Outlook.FINISH.value: {**_COUNT, "description": "End by themselves before that, as far as can be told."},
    Outlook.STOP.value: {**_COUNT, "description": "Are going to be stopped."},
    Outlook.UNKNOWN.value: {**_COUNT, "description": "Nobody can tell."},
}

INSIGHT: dict[str, Schema] = {
    "Why": _object(
        "Why a task is still running, or how it has ended.",
        {
            "task_id": TASK_ID,
            "type": _TEXT,
            "status": ref(STATUS),
            "sentence": {**_TEXT, "description": "All of it in one sentence for people; it may change."},
            "reason": _words(_REASONS, "The same in one word, for programs."),
            "where": {**or_null(_TEXT), "description": "The handler's own line on which it stands."},
            "waits_until": {**or_null(_SECONDS), "description": "Seconds until its sleep is over."},
            "unmoved_since": {**or_null(_TIME), "description": "Since when it is known to be in this very wait."},
            "stack": {**or_null(ref("Stack")), "description": "Of its handler; null where it has none here."},
            "elapsed_s": {**or_null(_SECONDS), "description": "Seconds that its run has taken."},
            "heard_at": {**or_null(_TIME), "description": "When it was heard of last."},
            "silent_s": {**or_null(_SECONDS), "description": "Seconds since then."},
            "past": ref("PastRuns"),
            "eta": or_null(ref("Eta")),
            "turn": or_null(ref("Turn")),
            "retry_at": or_null(_TIME),
            "cancel": or_null(ref("CancelReceipt")),
            "stopping": or_null(ref("Stopping")),
            "protected": _list_of(ref("Protection"), "The protected sections that it is in."),
            "children": _list_of(ref("LiveChild"), "The tasks under it that have not ended."),
            "deadlines": _list_of(ref("DeadlineAt"), "Those that count now."),
        },
    ),
    "Stack": _object(
        "A chain of lines, and what its last one waits for.",
        {
            "function": {**_TEXT, "description": "With which it begins."},
            "waits_for": _words(Wait, "What the last line waits for."),
            "where": or_null(_TEXT),
            "frames": _list_of(
                _object("One line.", {"where": _TEXT, "own": {"type": "boolean"}}), "The outermost first."
            ),
            "tasks": _list_of(ref("Stack"), "The asyncio tasks that it waits for, as far as they are found."),
            "more": {**_COUNT, "description": "So many more are not followed."},
        },
    ),
    "PastRuns": _object(
        "What the newest completed runs of its type took.",
        {
            "runs": _COUNT,
            **{name: or_null(_SECONDS) for name in ("p50_s", "p90_s", "p99_s")},
            "shorter": {**or_null(_COUNT), "description": "So many of them were shorter than this one is by now."},
        },
    ),
    "Turn": _object(
        "The place of a task that waits for its turn.",
        {
            "hindrance": _words(Hindrance, "Why it does not have it."),
            "ahead": {**_COUNT, "description": "Waiting tasks that come before it."},
            "holder": {**or_null(TASK_ID), "description": "The task that has its key."},
        },
    ),
    "Stopping": _object(
        "What it is to be stopped for.",
        {
            "cause": _words(Cause, "Why."),
            "delivered_s": {**or_null(_SECONDS), "description": "Seconds since its handler was told."},
            "deliveries": {**_COUNT, "description": "How often it was told."},
        },
    ),
    "Protection": _object(
        "A protected section.",
        {"reason": _TEXT, "left_s": {**_SECONDS, "description": "Seconds for which it still holds back a stop."}},
    ),
    "OutlookCounts": _object("What becomes of how many tasks.", _COUNTS),
    "DrainOutlook": {
        "type": "object",
        "description": "What becomes of the running tasks of a server that stops.",
        "required": ["stops_in_s", *_COUNTS],
        "properties": {
            "stops_in_s": {**_SECONDS, "description": "Seconds until those that still run are stopped."},
            **_COUNTS,
            "types": {
                "type": "object",
                "additionalProperties": ref("OutlookCounts"),
                "description": "The same of each type of the caller's tasks; with a credential.",
            },
            "tasks": _list_of(
                _object(
                    "One of them.", {"id": TASK_ID, "type": _TEXT, "outlook": _words(Outlook, "What becomes of it.")}
                ),
                "The caller's; with a credential.",
            ),
        },
    },
    "LiveChild": _object("A task under it.", {"id": TASK_ID, "type": _TEXT, "status": ref(STATUS)}),
    "DeadlineAt": _object("A limit, and when it is reached.", {"limit": _words(Limit, "Its field."), "at": _TIME}),
}


def why_example(task_id: str, created: str, started: str, now: str) -> dict[str, Any]:
    """What is said of a countdown.

    Args:
        task_id: its id.
        created: when it was started, RFC 3339.
        started: when its run began.
        now: when it is asked.
    """
    status, params = TaskStatus.RUNNING, {"count": 5, "interval": 1.0}
    record = Record(task_id, "countdown", status, params, 3600.0, created, now, started_at=started, heartbeat_at=now)
    line = Frame("countdown.py:44 in countdown", "tasks/countdown.py:countdown", own=True)
    stack = Stack(
        (line, Frame("tasks.py:639 in sleep", "asyncio/tasks.py:sleep", own=False)), Wait.SLEEP, "countdown", 0.7
    )
    return why(Seen(record, now, stack=stack, past=[5.03, 5.01, 1.01]))
