"""Server-sent events: the bytes on the wire.

Source: WHATWG HTML standard, section 9.2 "Server-sent events".

Owns:   event -> bytes, once for all readers; the keepalive; what a Last-Event-ID may be; what an event type may be.
Never:  sends anything.
"""

from __future__ import annotations

import re

from streaming.errors import BadCursor, InvalidEvent
from streaming.events import BUILT_IN_TYPES, Event
from streaming.records import TaskStatus

#: A comment of one line. No blank line follows: some parsers take one for an event without data.
KEEPALIVE = b": keepalive\n"

#: Goes in front of the first block of a stream, for the same reason never into a block of its own.
RETRY_MS = 2000


def retry_line(milliseconds: int) -> bytes:
    """When a reader that has lost its stream is to come back."""
    return f"retry: {milliseconds}\n".encode()


RETRY = retry_line(RETRY_MS)

RESERVED_TYPES = BUILT_IN_TYPES | frozenset(status.value for status in TaskStatus) | {"retrying"}

_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_DIGITS = re.compile(r"[0-9]{1,18}\Z")


def envelope(event: Event) -> str:
    """The event as one JSON object, on one line."""
    return (
        f'{{"seq":{event.seq},"task_id":"{event.task_id}","type":"{event.type}",'
        f'"time":"{event.time}","data":{event.payload}}}'
    )


def frame(event: Event) -> bytes:
    """The block of one event in its task's stream; its id is the seq."""
    return f"id: {event.seq}\nevent: {event.type}\ndata: {envelope(event)}\n\n".encode()


def feed_frame(event: Event, position: int) -> bytes:
    """The block of one event in the feed; its id is the feed position."""
    return f"id: {position}\nevent: {event.type}\ndata: {envelope(event)}\n\n".encode()


def check_type(type: object) -> None:
    """Say whether a handler may emit this type.

    Raises:
        InvalidEvent: it is no type, or belongs to the server.
    """
    if not isinstance(type, str) or not _TYPE.match(type):
        raise InvalidEvent(
            f"{str(type)[:64]!r} is no event type: letters, digits, '_', '-' and '.', at most 64 characters."
        )
    if type in RESERVED_TYPES:
        raise InvalidEvent(f"The event type {type!r} belongs to the server; choose another name.")


def parse_last_event_id(text: str) -> int:
    """Read a cursor as a client sends it back.

    Args:
        text: the value of the header or the query parameter.

    Returns:
        The cursor; whether it is inside the log is for the log to say.

    Raises:
        BadCursor: it is not a whole number of at most 18 digits.
    """
    if not _DIGITS.match(text):
        raise BadCursor(f"Last-Event-ID {text[:64]!r} is no position of a log: send back the id of an event.")
    return int(text)
