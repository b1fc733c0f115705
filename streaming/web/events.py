"""The routes of events: a task's log, the feed, and the stream of a task that was just started.

Owns:   where a reader wants to begin, in which form, and whether there is room for it.
Never:  sends events (``web.stream``).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import structlog

from streaming.errors import NotAcceptable, UpgradeRequired
from streaming.rules.sse import envelope, parse_last_event_id
from streaming.web.negotiation import choose
from streaming.web.query import STREAM_TOKEN, Query
from streaming.web.reply import JSON, NDJSON, SSE, Reply, json_text_reply
from streaming.web.request import Request
from streaming.web.site import Site
from streaming.web.stream import FORMS, Stream, stream

PAGE_DEFAULT = 200

#: Versions of HTTP whose clients do not know chunks (RFC 9112, 6.1). uvicorn sends them all the same; and an answer
#: that ends with its connection does not tell a whole stream from a broken one.
_CHUNKLESS = frozenset({"0.9", "1.0"})


def accepted(request: Request, offers: Sequence[str]) -> str:
    """The media type to answer with.

    Raises:
        NotAcceptable: the client wants none of ``offers``.
    """
    chosen = choose(request.header("accept"), offers)
    if chosen is None:
        raise NotAcceptable(f"Possible here: {', '.join(offers)}.")
    return chosen


def place(site: Site, request: Request) -> AbstractContextManager[None]:
    """A place for the stream that answers a request; see `Heartbeat.place`.

    Raises:
        UpgradeRequired: the client could not read it.
    """
    if request.http_version in _CHUNKLESS:
        raise UpgradeRequired(
            f"A stream needs HTTP/1.1, and this request is HTTP/{request.http_version}. "
            "If a proxy has made it, let it speak HTTP/1.1 (nginx: proxy_http_version 1.1)."
        )
    return site.heartbeat.place(request.credential.principal)


async def read_log(site: Site, request: Request, task_id: str) -> Reply | Stream:
    """``GET /tasks/{id}/events``: a task's log, as a stream or as one page."""
    form = accepted(request, (SSE, NDJSON, JSON))
    if form == JSON:
        return await _page(site, request, task_id)
    query = Query(request.query_string, ("last_event_id", "tail", STREAM_TOKEN))
    after, tail = _beginning(request, query)
    with place(site, request):
        subscription = await site.view(request).watch(task_id, after=after, tail=tail)
        return await stream(request, subscription, FORMS[form], site.heartbeat, {"vary": "accept"})


async def watch_new(site: Site, request: Request, task_id: str, headers: dict[str, str]) -> Reply | Stream:
    """Answer a start with the stream of its task; the caller holds a place for it."""
    structlog.contextvars.bind_contextvars(task_id=task_id)
    subscription = await site.view(request).watch(task_id)
    return await stream(request, subscription, FORMS[SSE], site.heartbeat, headers)


async def follow_feed(site: Site, request: Request) -> Reply | Stream:
    """``GET /events``: the events of all tasks."""
    accepted(request, (SSE,))
    query = Query(request.query_string, ("type", "task_type", "tag", "last_event_id", "tail"))
    after, tail = _beginning(request, query)
    types, task_types = frozenset(query.words("type")), frozenset(query.words("task_type"))
    tag = query.word("tag")
    with place(site, request):
        subscription = await site.view(request).follow(
            after=after, tail=tail, types=types, task_types=task_types, tag=tag
        )
        return await stream(request, subscription, FORMS[SSE], site.heartbeat, {})


async def _page(site: Site, request: Request, task_id: str) -> Reply:
    query = Query(request.query_string, ("last_event_id", "tail", "limit", STREAM_TOKEN))
    view = site.view(request)
    after, tail = _beginning(request, query)
    limit = query.whole("limit", least=1, most=site.settings.page_max) or PAGE_DEFAULT
    if tail is not None:
        after = max(0, (await view.get(task_id)).last_seq - tail)
    events = await view.history(task_id, after=after, limit=limit)
    head = (await view.get(task_id)).last_seq
    more = events[-1].seq if events and events[-1].seq < head else None
    listed = ",".join(map(envelope, events))
    return json_text_reply(
        200, f'{{"events":[{listed}],"next_cursor":{"null" if more is None else more}}}', headers={"vary": "accept"}
    )


def _beginning(request: Request, query: Query) -> tuple[int, int | None]:
    """Read (cursor, tail). A cursor says where a reader has been, so it wins over a tail; the header over the query."""
    tail = query.whole("tail")
    given = (request.header("last-event-id"), query.text("last_event_id"))
    cursors = [parse_last_event_id(text) for text in given if text is not None]
    return (cursors[0], None) if cursors else (0, tail)
