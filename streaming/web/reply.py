"""A reply as a value: status, headers, body.

Owns:   the shape of a reply; JSON as bytes.
Uses:   web.headers (what every answer has).
Never:  sends anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from streaming.web.headers import SECURITY

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Reply(NamedTuple):
    """What asgineer takes from a handler: status, headers, body."""

    status: int
    headers: dict[str, str]
    body: bytes


def json_reply(
    status: int, value: object, *, content_type: str = JSON, headers: Mapping[str, str] | None = None
) -> Reply:
    """Answer with JSON, on one line with a line end, so that terminals stay readable.

    Args:
        status: of the answer.
        value: anything with a JSON form; a lone surrogate in a text becomes a question mark.
        content_type: of the answer.
        headers: more of them.
    """
    return json_text_reply(status, _to_json(value), content_type=content_type, headers=headers)


def json_text_reply(
    status: int, text: str, *, content_type: str = JSON, headers: Mapping[str, str] | None = None
) -> Reply:
    """Answer with JSON that is text already; see `json_reply`."""
    body = text.encode("utf-8", "replace") + b"\n"
    return Reply(status, {"content-type": content_type, **SECURITY, **(headers or {})}, body)


def empty_reply(status: int, headers: Mapping[str, str] | None = None) -> Reply:
    """Answer without a body."""
    return Reply(status, {**SECURITY, **(headers or {})}, b"")
