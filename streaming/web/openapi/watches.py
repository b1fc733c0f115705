"""The operation that watches many channels at once, and its parameters.

Owns:   their description.
Never:  knows the handler.
"""

from __future__ import annotations

from typing import Any

from streaming import errors
from streaming.config import Settings
from streaming.web.openapi.answers import TASK_ID, Schema, ref
from streaming.web.openapi.operation import NOTHING, OK, STREAMS, TASK, Answer, Operation
from streaming.web.openapi.version import sse_item
from streaming.web.reply import SSE

_SEQ = "(0|[1-9][0-9]{0,17})"
_LOG = f"[0-9a-f]{{32}}:{_SEQ}"
_PLACE: Schema = {"type": "string", "pattern": f"^(f={_SEQ}(;l={_LOG})*|l={_LOG}(;l={_LOG})*)$"}

_WATCH: Schema = {
    "type": "string",
    "contentMediaType": SSE,
    "description": "Server-sent events. The id is the place in all channels. The event is `feed` or `log`, with an "
    "Event as its data; or `cursor`, the first one: where it begins; or `end` or `lost`: nothing more comes of a log.",
}
_BEGIN: Schema = {
    "type": "object",
    "required": ["feed", "logs"],
    "properties": {
        "feed": {"type": ["integer", "null"], "minimum": 0},
        "logs": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
    },
}
_OVER: Schema = {"type": "object", "required": ["task_id"], "properties": {"task_id": TASK_ID}}


def _item() -> Schema:
    item = sse_item({"anyOf": [ref("Event"), _BEGIN, _OVER]})
    return {**item, "properties": {**item["properties"], "id": {**_PLACE, "description": "The place to resume from."}}}


WATCHES = {
    ("/watch", "get"): Operation(
        "watch",
        "Events",
        "Follow the feed and the logs of several tasks",
        {
            OK: Answer(
                "One stream of all of them; it ends with the last log, or with the server.",
                {SSE: _WATCH},
                examples={SSE: ("Watch",)},
                items={SSE: _item()},
            ),
            NOTHING: Answer("All that is asked for has ended, and was seen: stop asking."),
        },
        (*TASK, *STREAMS, errors.QueryTooLarge, errors.BadCursor),
        (
            *("watch_cursor_header", "watch_cursor", "watch_feed", "watch_log"),
            *("event_type", "event_task_type", "event_tag"),
        ),
        description="For pages, which have six connections to a server: the feed, the logs of several tasks, or both. "
        "What is wanted stands in the query; each `id` is the place in all of it, and one Last-Event-ID resumes all.",
        by_token=True,
        query="feed=1",
    )
}


def parameters_of_watches(settings: Settings) -> dict[str, dict[str, Any]]:
    """The parameters that only a watch has.

    Args:
        settings: the limits.
    """
    wish = {"type": "string", "pattern": f"^[0-9a-f]{{32}}(:{_SEQ})?$"}
    return {
        "watch_cursor_header": {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The last id that was seen; everything behind it follows. It wins over the query.",
            "schema": _PLACE,
        },
        "watch_cursor": {
            "name": "last_event_id",
            "in": "query",
            "description": "As Last-Event-ID, for those who cannot send headers.",
            "schema": _PLACE,
        },
        "watch_feed": {
            "name": "feed",
            "in": "query",
            "description": "Follow the feed, from now on.",
            "schema": {"type": "string", "enum": ["1"]},
        },
        "watch_log": {
            "name": "log",
            "in": "query",
            "description": "Follow the log of this task, from its beginning, or behind a seq: `TASK:SEQ`.",
            "schema": {
                "type": "array",
                "items": wish,
                "minItems": 1,
                "maxItems": settings.watch_logs_max,
                "uniqueItems": True,
            },
            "style": "form",
            "explode": False,
        },
    }
