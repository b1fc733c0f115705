"""The route of watches: the feed and the logs of several tasks over one connection.

A browser has six connections to a server (HTTP/1.1), and each stream takes one for as long as it lasts.

Rules of this file:

- The query says what is wanted; a cursor only says from where. What it names beside that has no meaning.
- Each log needs what its own stream needs, and so does the feed. A stream token opens the watch of its one log.

Owns:   what a watch is asked for, and from where it begins.
Uses:   engine.watch (reads), rules.vector (the cursor), web.stream (sends).
Never:  shows a task to whom its own stream is closed.
"""

from __future__ import annotations

from streaming.errors import BadFilter, QueryTooLarge, TaskNotFound
from streaming.rules.access import Scope
from streaming.rules.feed import FeedFilter
from streaming.rules.vector import Vector, is_task_id, parse_vector, parse_wish
from streaming.web.events import accepted, place
from streaming.web.query import STREAM_TOKEN, Query
from streaming.web.reply import SSE, Reply
from streaming.web.request import Request
from streaming.web.site import Site
from streaming.web.stream import FORMS, Stream, stream

#: What says which events of the feed are wanted.
FILTERS = ("type", "task_type", "tag")


async def watch(site: Site, request: Request) -> Reply | Stream:
    """``GET /watch``: the feed, and the logs of several tasks, as one stream."""
    accepted(request, (SSE,))
    query = Query(request.query_string, ("feed", "log", *FILTERS, "last_event_id", STREAM_TOKEN))
    feed, logs = _wanted_feed(query), _wanted_logs(query, site.settings.watch_logs_max)
    if feed is None and not logs:
        raise BadFilter("A watch needs something to watch: feed=1, or log=TASK once or more, or both.")
    _require(site, request, feed=feed is not None, logs=logs)
    cursor = _beginning(request, query, site.settings.watch_logs_max)
    after = {task_id: cursor.logs.get(task_id, seq) for task_id, seq in logs.items()}
    with place(site, request):
        subscription = await site.view(request).watch_all(after, feed=feed, feed_after=cursor.feed)
        return await stream(request, subscription, FORMS[SSE], site.heartbeat, {})


def _wanted_feed(query: Query) -> FeedFilter | None:
    """What of the feed; None: nothing."""
    asked = query.text("feed")
    if asked not in (None, "1"):
        raise BadFilter(f"feed must be 1, or left out, not {asked[:64]!r}.")
    wanted = FeedFilter(frozenset(query.words("type")), frozenset(query.words("task_type")), query.word("tag"))
    if asked is None and wanted != FeedFilter():
        raise BadFilter(f"{', '.join(FILTERS)} say what is wanted of the feed: they need feed=1.")
    return wanted if asked else None


def _wanted_logs(query: Query, logs_max: int) -> dict[str, int]:
    """Which logs, each behind a seq."""
    wishes = query.words("log")
    if len(wishes) > logs_max:
        raise QueryTooLarge(f"One watch follows {logs_max} logs at most, not {len(wishes)}.")
    logs: dict[str, int] = {}
    for task_id, after in map(parse_wish, wishes):
        if not is_task_id(task_id):
            raise TaskNotFound(task_id)
        if task_id in logs:
            raise BadFilter(f"The log of {task_id} is asked for twice; once is possible.")
        logs[task_id] = after
    return logs


def _require(site: Site, request: Request, *, feed: bool, logs: dict[str, int]) -> None:
    """Refuse what the credential is not good for.

    Raises:
        Forbidden: it may not read the feed, or tasks, or is one for another stream.
    """
    if feed:
        site.door.require(request, Scope.FEED_READ, task_id=None, logs=False)
    for task_id in logs:
        site.door.require(request, Scope.TASKS_READ, task_id=task_id, logs=True)


def _beginning(request: Request, query: Query, logs_max: int) -> Vector:
    """Read the cursor; the header wins over the query."""
    given = (request.header("last-event-id"), query.text("last_event_id"))
    cursors = [parse_vector(text, logs_max=logs_max) for text in given if text is not None]
    return cursors[0] if cursors else Vector()
