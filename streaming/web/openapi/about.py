"""The operations about the server itself, and those of its page.

Owns:   their table.
Never:  knows a limit, or a handler.
"""

from __future__ import annotations

from streaming import errors
from streaming.web.metrics import OPENMETRICS, TEXT
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
from streaming.web.openapi.version import sse_item
from streaming.web.reply import JSON, SSE

OPENAPI_JSON = "/openapi.json"

HTML = "text/html"

#: The kinds of files of the page, with the endings of their names.
_FILES = {"text/css": "css", "text/javascript": "js", "image/svg+xml": "svg"}

_BEATS: Schema = {
    "type": "string",
    "contentMediaType": SSE,
    "description": "Server-sent events of the type beat: the data has the number of the beat and its time.",
}

_BEAT = sse_item(
    {
        "type": "object",
        "required": ["n", "time"],
        "properties": {"n": {"type": "integer", "minimum": 1}, "time": {"type": "string", "format": "date-time"}},
    }
)

_METRICS: Schema = {"type": "string", "description": "One metric after the other."}

SERVER = {
    ("/stats", "get"): Operation(
        "get_statistics",
        "Server",
        "What tasks have done",
        {OK: json_answer("Statistics", "Of the tasks that have ended in the window.")},
        ASKING,
        ("window", "figures_type", "by"),
        description="Counts, throughput, shares of success, and how long tasks waited and ran: of all, of each type, "
        "and of each hour or day.",
    ),
    ("/metrics", "get"): Operation(
        "get_metrics",
        "Server",
        "What Prometheus reads",
        {
            OK: Answer(
                "All metrics, in the format that is asked for.",
                dict.fromkeys((TEXT, OPENMETRICS), _METRICS),
                examples={TEXT: ("Metrics",), OPENMETRICS: ("Metrics.open",)},
            )
        },
        (*QUERY, errors.NotAcceptable, errors.NotFound),
        description="As text, or as OpenMetrics where `Accept` says so. 404 where nothing is counted.",
    ),
    ("/server", "get"): Operation(
        "get_server",
        "Server",
        "How the server is",
        {OK: json_answer("Server", "In one look.")},
        QUERY,
        description="Live tasks of everybody, open streams, events a second, how long commits take, how late the event "
        "loop is, the limits that were hit, and how far a drain is.",
    ),
    ("/audit", "get"): Operation(
        "audit",
        "Server",
        "Whether all is well",
        {OK: json_answer("Audit", "What was looked at, and every violation of an invariant; also with violations.")},
        (*QUERY, errors.QueryTooSlow, errors.Draining, *STORE),
        ("repair", "audit_limit"),
        description="Reads live tasks and those that ended last, and looks whether every invariant holds. With "
        "`repair=true` what can be put right safely is. HEAD puts nothing right.",
    ),
    ("/audit/diary", "get"): Operation(
        "get_diary",
        "Server",
        "What has happened last",
        {OK: json_answer("Diary", "The last facts that decide who comes first, in their order.")},
        QUERY,
        description="For those who look into a race: what was started, stored, cancelled and ended, in which order.",
    ),
    ("/types", "get"): Operation(
        "list_types",
        "Server",
        "What can be started",
        {OK: json_answer("TypePage", "The task types.")},
        description="Every task type, with a JSON Schema of its parameters and what holds where a start says nothing.",
    ),
    ("/beats", "get"): Operation(
        "follow_beats",
        "Server",
        "Measure the way of a stream",
        {
            OK: Answer(
                "A time, again after each interval; then the response ends.",
                {SSE: _BEATS},
                examples={SSE: ("Beats",)},
                items={SSE: _BEAT},
            ),
            NOTHING: Answer("Last-Event-ID is that of the last beat: stop asking."),
        },
        (*QUERY, *STREAMS, errors.BadCursor),
        ("beats", "interval_s", "Last-Event-ID"),
        description="No task and no store is asked: what comes late, or together, was held up on its way.",
    ),
    ("/healthz", "get"): Operation(
        "get_health",
        "Server",
        "Whether the process is alive",
        {OK: json_answer("Health", "It is.")},
        description="For whoever starts the process again if it is not. It asks for no credential.",
        guarded=False,
    ),
    ("/readyz", "get"): Operation(
        "get_readiness",
        "Server",
        "Whether a start would be accepted",
        {OK: json_answer("Readiness", "It would.")},
        (errors.Draining, *STORE),
        description="For whoever sends requests to this server, or to another one. It asks for no credential.",
        guarded=False,
    ),
    ("/principal", "get"): Operation(
        "get_principal",
        "Server",
        "Who is calling",
        {OK: json_answer("Principal", "Whose credential it is.")},
        description="The principal of the credential, what it may do, and when it is over.",
    ),
    ("/", "get"): Operation(
        "get_page",
        "Server",
        "The page",
        {
            OK: Answer("For people.", {HTML: {"type": "string"}}, examples={HTML: ("Page",)}),
            UNCHANGED: Answer("It is as it was."),
        },
        description="Tasks and their streams, to look at and to steer. It asks for no credential; what it shows does.",
        guarded=False,
    ),
    ("/docs", "get"): Operation(
        "get_docs",
        "Server",
        "This description as a page",
        {
            OK: Answer("For people.", {HTML: {"type": "string"}}, examples={HTML: ("Page",)}),
            UNCHANGED: Answer("It is as it was."),
        },
        description="It asks for no credential. Where others do, it leaves out task types that only this server has.",
        guarded=False,
    ),
    ("/page/{file}", "get"): Operation(
        "get_page_file",
        "Server",
        "A file of the page",
        {
            OK: Answer(
                "The file.",
                {type: {"type": "string"} for type in _FILES},
                examples={type: (f"File.{name}",) for type, name in _FILES.items()},
            ),
            UNCHANGED: Answer("It is as it was."),
        },
        (errors.NotFound,),
        ("file",),
        description="What a page needs. With the `ETag` of a file in `If-None-Match` the answer is 304.",
        guarded=False,
    ),
    (OPENAPI_JSON, "get"): Operation(
        "get_description",
        "Server",
        "This description",
        {
            OK: Answer(
                "OpenAPI, of the version that is asked for.",
                {JSON: {"type": "object", "required": ["openapi", "info", "paths"]}},
                examples={JSON: ("Description",)},
            )
        },
        QUERY,
        ("version",),
        description="Most programs read version 3.1. Version 3.2 says what one event of a stream looks like, too.",
    ),
}
