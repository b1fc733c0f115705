"""What an operation is, and what several of them have in common.

Owns:   `Operation` and `Answer`; groups of refusals.
Never:  knows a path.
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
from streaming.web.reply import JSON

OK, CREATED, ACCEPTED, NOTHING = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT
UNCHANGED = HTTPStatus.NOT_MODIFIED


class Answer(NamedTuple):
    """What an operation answers with one status.

    Attributes:
        description: when, or what.
        content: schemas by media type; none for an answer without a body.
        headers: names of the headers that it has, see `HEADERS`.
    """

    description: str
    content: Mapping[str, Schema] = MappingProxyType({})
    headers: tuple[str, ...] = ()


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
        body: the schema of its body; None if there is nothing to say.
        body_required: whether it must have one.
        description: more words.
        guarded: whether it asks who is calling.
        by_token: whether a stream token will do.
    """

    id: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    refusals: tuple[type[StreamingError], ...] = ()
    parameters: tuple[str, ...] = ()
    body: Schema | None = None
    body_required: bool = True
    description: str = ""
    guarded: bool = True
    by_token: bool = False


def json_answer(name: str, description: str, *headers: str) -> Answer:
    """An answer of JSON.

    Args:
        name: of its schema.
        description: when, or what.
        headers: names of the headers that it has.
    """
    return Answer(description, {JSON: ref(name)}, headers)


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
