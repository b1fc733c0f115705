"""What an operation is: what it takes, what it answers, how it refuses; and what many of them have in common.

Owns:   the shape of a description of an operation; its answers that are streams; groups of refusals.
Uses:   web.openapi.answers, by name.
Never:  names a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple

from streaming import errors
from streaming.errors import StreamingError
from streaming.web.openapi.answers import Schema, ref
from streaming.web.openapi.version import sse_item
from streaming.web.reply import JSON, NDJSON, SSE

OK, CREATED, ACCEPTED, NOTHING = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT
UNCHANGED = HTTPStatus.NOT_MODIFIED

STREAM: Schema = {
    "type": "string",
    "contentMediaType": SSE,
    "description": "Server-sent events: the id is the place to resume from, the data is an Event on one line. The "
    "response ends after the terminal event of the task.",
}
LINES: Schema = {
    "type": "string",
    "contentMediaType": NDJSON,
    "description": "The same stream, one Event a line; blanks may stand in front of one.",
}
#: One item of a stream of events, by media type.
ITEMS: Mapping[str, Schema] = MappingProxyType({SSE: sse_item(ref("Event")), NDJSON: ref("Event")})


class Answer(NamedTuple):
    """What an operation answers with one status.

    Attributes:
        description: when, or what.
        content: schemas by media type; none for an answer without a body.
        headers: names of the headers that it has, see `HEADERS`.
        examples: their names by media type (``web.openapi.examples``).
        items: what one item of a stream looks like, by media type.
    """

    description: str
    content: Mapping[str, Schema] = MappingProxyType({})
    headers: tuple[str, ...] = ()
    examples: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    items: Mapping[str, Schema] = MappingProxyType({})


class Body(NamedTuple):
    """What an operation takes as JSON.

    Attributes:
        description: what it is for.
        schema: of it.
        examples: their names (``web.openapi.examples``).
        required: whether there must be one.
    """

    description: str
    schema: Schema
    examples: tuple[str, ...]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        id: its name for those who generate clients.
        tag: where it belongs.
        summary: in a few words.
        answers: what it answers if nothing is wrong, by status.
        refusals: the errors it may answer with, besides those of every operation.
        parameters: names of parameters.
        body: what it takes; None if there is nothing to say.
        description: more words.
        guarded: whether it asks who is calling.
        by_token: whether a stream token will do.
        query: one with which a request without any would make no sense; for examples.
    """

    id: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    refusals: tuple[type[StreamingError], ...] = ()
    parameters: tuple[str, ...] = ()
    body: Body | None = None
    description: str = ""
    guarded: bool = True
    by_token: bool = False
    query: str = ""


def json_answer(name: str, description: str, *headers: str, examples: tuple[str, ...] = ()) -> Answer:
    """An answer with JSON.

    Args:
        name: of its schema.
        description: when, or what.
        headers: names of those that it has.
        examples: names of examples; without any, the one that is named like the schema.
    """
    return Answer(description, {JSON: ref(name)}, headers, {JSON: examples or (name,)})


#: What every operation may answer.
ALWAYS: tuple[type[StreamingError], ...] = (
    errors.Forbidden,
    errors.UriTooLong,
    errors.HeadersTooLarge,
    StreamingError,
)

#: What one may answer that asks who is calling.
GUARDED: tuple[type[StreamingError], ...] = (errors.Unauthenticated, errors.RateLimited, errors.StoreUnavailable)

QUERY = (errors.BadRequest, errors.BadFilter)
BODY = (
    errors.BadRequest,
    errors.RequestTooLate,
    errors.BadJson,
    errors.BodyTooLarge,
    errors.UnsupportedMediaType,
    errors.InvalidParams,
)
STORE = (errors.StoreUnavailable,)
ASKING = (*QUERY, errors.QueryTooSlow, *STORE)
STREAMS = (errors.NotAcceptable, errors.UpgradeRequired, errors.TooManyStreams)
TASK = (*QUERY, errors.TaskNotFound, errors.RecordDamaged, *STORE)
LOG = (errors.TooManyEvents, errors.LogTooLarge)
STARTS = (
    errors.UnknownType,
    errors.InvalidParams,
    errors.IdempotencyMismatch,
    errors.TooManyTasks,
    errors.TooManyKeys,
    errors.Draining,
)
