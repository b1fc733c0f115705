"""Where a reader of several channels stands, and the blocks of events that tell it.

A channel is the feed, or the log of one task. The place in all of them is one text, the vector:
``f=1234;l=0123456789abcdef0123456789abcdef:17`` - the position in the feed first, then the logs by their ids. It is the
``id:`` of each block, so one ``Last-Event-ID`` resumes all of them.

Rules of this file:

- One place has one text: what is read is exactly what would be written.
- The data of an event are the bytes that every other stream has.

Owns:   writing and reading a vector; the blocks of a watch.
Never:  knows whether a task exists, or how far its log goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from streaming.errors import BadCursor
from streaming.events import Event
from streaming.rules.sse import envelope

_ID = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)
_POSITION = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z", re.ASCII)

#: How much of a wrong text is quoted.
_QUOTED = 64


@dataclass(frozen=True, slots=True)
class Vector:
    """A place in several channels.

    Attributes:
        feed: position in the feed; None if it is not followed.
        logs: seq by task id.
    """

    feed: int | None = None
    logs: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [] if self.feed is None else [f"f={self.feed}"]
        return ";".join([*parts, *(f"l={task_id}:{self.logs[task_id]}" for task_id in sorted(self.logs))])


def is_task_id(text: str) -> bool:
    """Whether a task can have this id."""
    return _ID.match(text) is not None


def parse_vector(text: str, *, logs_max: int) -> Vector:
    """Read a vector as a client sends it back.

    Args:
        text: the value of the header or the query parameter.
        logs_max: logs that it may have.

    Raises:
        BadCursor: it is none, and why.
    """
    feed: int | None = None
    logs: dict[str, int] = {}
    for number, part in enumerate(text.split(";")):
        name, equals, value = part.partition("=")
        if name == "f" and equals and number == 0:
            feed = _position(value, "of the feed")
        elif name == "l" and equals:
            task_id, after = _log(value)
            if logs and task_id <= next(reversed(logs)):
                raise BadCursor(f"The logs of a cursor stand in the order of their ids, each once: not {task_id} here.")
            logs[task_id] = after
        else:
            raise BadCursor(f"{part[:_QUOTED]!r} is no part of a cursor: f=POSITION first, then l=TASK:SEQ.")
    if len(logs) > logs_max:
        raise BadCursor(f"A cursor has at most {logs_max} logs, and this one has {len(logs)}.")
    return Vector(feed, logs)


def parse_wish(text: str) -> tuple[str, int]:
    """Read which log somebody wants, and behind which event: ``TASK``, or ``TASK:SEQ``.

    Returns:
        The id, as it was given, and the seq: 0 where none is given.

    Raises:
        BadCursor: the seq is none.
    """
    task_id, colon, after = text.partition(":")
    return task_id, _position(after, f"of the log of {task_id[:_QUOTED]!r}") if colon else 0


def cursor_block(vector: Vector) -> bytes:
    """The first block of a watch: where it begins."""
    feed = "null" if vector.feed is None else vector.feed
    logs = ",".join(f'"{task_id}":{vector.logs[task_id]}' for task_id in sorted(vector.logs))
    return f'id: {vector}\nevent: cursor\ndata: {{"feed":{feed},"logs":{{{logs}}}}}\n\n'.encode()


def event_block(channel: str, event: Event, vector: str) -> bytes:
    """The block of one event.

    Args:
        channel: ``feed`` or ``log``.
        event: what has happened.
        vector: the place behind it.
    """
    return f"id: {vector}\nevent: {channel}\ndata: {envelope(event)}\n\n".encode()


def over_block(word: str, task_id: str, vector: str) -> bytes:
    """The block that says that nothing more comes of a log.

    Args:
        word: ``end`` behind its terminal event; ``lost`` where the task goes on, but not on this server.
        task_id: whose log.
        vector: the place behind it.
    """
    return f'id: {vector}\nevent: {word}\ndata: {{"task_id":"{task_id}"}}\n\n'.encode()


def _log(value: str) -> tuple[str, int]:
    task_id, _, after = value.partition(":")
    if not is_task_id(task_id):
        raise BadCursor(f"{task_id[:_QUOTED]!r} in a cursor is no id of a task.")
    return task_id, _position(after, f"of the log of {task_id}")


def _position(text: str, of: str) -> int:
    if not _POSITION.match(text):
        raise BadCursor(
            f"{text[:_QUOTED]!r} is no position {of}: a whole number of at most 18 digits, none of them in vain."
        )
    return int(text)
