"""The operations about the server itself, and those of its page.

Owns:   their table.
Never:  knows a limit, or a handler.
"""

from __future__ import annotations

from streaming import errors
from streaming.web.openapi.answers import Schema
from streaming.web.openapi.operation import (
    ASKING,
    NOTHING,
    OK,
    QUERY,
    STORE,
    STREAMS,
    UNCHANGED,
    Answer,
    Operation,
    json_answer,
)
from streaming.web.reply import JSON, SSE

OPENAPI_JSON = "/openapi.json"

_BEATS: Schema = {
    "type": "string",
    "contentMediaType": SSE,
    "description": "Server-sent events of the type beat: the data has the number of the beat and its time.",
    "examples": ['retry: 2000\nid: 1\nevent: beat\ndata: {"n":1,"time":"2026-11-20T21:53:03.970647Z"}\n\n'],
}

SERVER = {
    ("/stats", "get"): Operation(
        "get_statistics",
        "Server",
        "What tasks have done",
        {OK: json_answer("Statistics", "Of the tasks that have ended in the window.")},
        ASKING,
        ("window", "figures_type", "by"),
    ),
    ("/audit", "get"): Operation(
        "audit",
        "Server",
        "Whether all is well",
        {OK: json_answer("Audit", "What was looked at, and every violation of an invariant; also with violations.")},
        (*QUERY, errors.QueryTooSlow, errors.Draining, *STORE),
        ("repair", "audit_limit"),
        description="With `repair=true` what can be put right safely is. HEAD puts nothing right.",
    ),
    ("/audit/diary", "get"): Operation(
        "get_diary",
        "Server",
        "What has happened last",
        {OK: json_answer("Diary", "The last facts that decide who comes first, in their order.")},
        QUERY,
    ),
    ("/types", "get"): Operation(
        "list_types", "Server", "What can be started", {OK: json_answer("TypePage", "The task types.")}
    ),
    ("/beats", "get"): Operation(
        "follow_beats",
        "Server",
        "Measure the way of a stream",
        {
            OK: Answer("A time, again after each interval; then the response ends.", {SSE: _BEATS}),
            NOTHING: Answer("Last-Event-ID is that of the last beat: stop asking."),
        },
        (*QUERY, *STREAMS, errors.BadCursor),
        ("beats", "interval_s", "Last-Event-ID"),
        description="No task and no store is asked: what comes late, or together, was held up on its way.",
    ),
    ("/healthz", "get"): Operation(
        "get_health", "Server", "Whether the process is alive", {OK: json_answer("Health", "It is.")}, guarded=False
    ),
    ("/readyz", "get"): Operation(
        "get_readiness",
        "Server",
        "Whether a start would be accepted",
        {OK: json_answer("Readiness", "It would.")},
        (errors.Draining, *STORE),
        guarded=False,
    ),
    ("/principal", "get"): Operation(
        "get_principal", "Server", "Who is calling", {OK: json_answer("Principal", "Whose credential it is.")}
    ),
    ("/", "get"): Operation(
        "get_page",
        "Server",
        "The page",
        {OK: Answer("For people.", {"text/html": {"type": "string"}}), UNCHANGED: Answer("It is as it was.")},
        guarded=False,
    ),
    ("/page/{file}", "get"): Operation(
        "get_page_file",
        "Server",
        "A file of the page",
        {
            OK: Answer(
                "The file.", {type: {"type": "string"} for type in ("text/css", "text/javascript", "image/svg+xml")}
            ),
            UNCHANGED: Answer("It is as it was."),
        },
        (errors.NotFound,),
        ("file",),
        guarded=False,
    ),
    (OPENAPI_JSON, "get"): Operation(
        "get_description",
        "Server",
        "This description",
        {OK: Answer("OpenAPI 3.1.", {JSON: {"type": "object", "required": ["openapi", "info", "paths"]}})},
    ),
}
