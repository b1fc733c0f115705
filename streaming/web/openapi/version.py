"""Versions of OpenAPI, and what differs between them: how a stream is described.

In 3.1 a stream is a text. 3.2 can say what one item of it looks like, so that programs can make a client of it.

Owns:   which versions there are; what a stream and an example look like in each.
Never:  knows an operation.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from streaming.web.openapi.answers import Schema
from streaming.web.reply import JSON


class Version(StrEnum):
    """A version that can be asked for."""

    V3_1 = "3.1"
    V3_2 = "3.2"

    @property
    def full(self) -> str:
        """As a document says it."""
        return f"{self}.0"


def sse_item(data: Schema) -> Schema:
    """What one server-sent event looks like.

    Args:
        data: what its data looks like, which is JSON.
    """
    return {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "pattern": "^[0-9]+$", "description": "The place to resume from."},
            "event": {"type": "string", "description": "The type of the event."},
            "data": {
                "type": "string",
                "contentMediaType": JSON,
                "contentSchema": data,
                "description": "JSON, on one line.",
            },
            "retry": {
                "type": "integer",
                "minimum": 0,
                "description": "Milliseconds to wait before coming back; in the first item only.",
            },
        },
    }


def media(version: Version, schema: Schema, item: Schema | None) -> dict[str, Any]:
    """How the content of an answer is described.

    Args:
        version: of OpenAPI.
        schema: of the content as a whole.
        item: of one item, if it is a stream.
    """
    return {"schema": schema} if item is None or version is Version.V3_1 else {"itemSchema": item}


def example(version: Version, summary: str, value: Any) -> dict[str, Any]:
    """How an example is described.

    Args:
        version: of OpenAPI.
        summary: in a few words.
        value: any JSON value; the text of a stream.
    """
    name = "serializedValue" if version is Version.V3_2 and isinstance(value, str) else "value"
    return {"summary": summary, name: value}
