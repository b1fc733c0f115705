"""sse-starlette, as its documentation has it: a generator, which yields events out of a queue for each reader.

Owns:   the application ``app``.
Never:  encodes an event twice: its JSON is made once for all readers, the frame is the library's work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.contenders.emitter import Channels, Logged, log
from benchmarks.contenders.starlette_site import site

_channels: Channels[str] = Channels(str)
_log: list[Logged] = []


async def _stream(request: Request) -> Response:
    channel = _channels[request.query_params["channel"]]
    queue = channel.subscribe()

    async def events() -> AsyncIterator[ServerSentEvent]:
        async for data in channel.items(queue):
            yield ServerSentEvent(data)

    return EventSourceResponse(events())


async def _replay(request: Request) -> Response:
    async def events() -> AsyncIterator[ServerSentEvent]:
        for event in _log:
            yield ServerSentEvent(event.data, event=event.type, id=event.id)

    return EventSourceResponse(events(), sep="\n")


def _prepare(events: int) -> None:
    _log[:] = log(events)


app = site(_channels, _stream, _replay, _prepare)
