"""sse-starlette, as its documentation has it: a generator, which yields events out of a queue for each reader.

Owns:   the application ``app``.
Never:  encodes an event twice: its JSON is made once for all readers, the frame is the library's work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.contenders.emitter import Channels, Logged, log

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


async def _emit(request: Request) -> Response:
    _channels.emit(await request.json())
    return Response(status_code=202)


async def _prepare(request: Request) -> Response:
    _log[:] = log((await request.json())["events"])
    return Response(status_code=202)


async def _ready(request: Request) -> Response:
    return Response()


app = Starlette(
    routes=[
        Route("/stream", _stream),
        Route("/log", _replay),
        Route("/emit", _emit, methods=["POST"]),
        Route("/prepare", _prepare, methods=["POST"]),
        Route("/readyz", _ready),
    ]
)
