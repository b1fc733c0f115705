"""Starlette's StreamingResponse over a queue for each reader; the frame is made once for all of them.

Owns:   the application ``app``.
Never:  sends a keepalive: a plain streaming response has none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.contenders.emitter import Channels, log

_SSE = "text/event-stream"

_channels: Channels[bytes] = Channels(lambda data: f"data: {data}\n\n".encode())
_log: list[bytes] = []


async def _stream(request: Request) -> Response:
    channel = _channels[request.query_params["channel"]]
    return StreamingResponse(channel.items(channel.subscribe()), media_type=_SSE)


async def _replay(request: Request) -> Response:
    async def frames() -> AsyncIterator[bytes]:
        for frame in _log:
            yield frame

    return StreamingResponse(frames(), media_type=_SSE)


async def _emit(request: Request) -> Response:
    _channels.emit(await request.json())
    return Response(status_code=202)


async def _prepare(request: Request) -> Response:
    _log[:] = [event.frame for event in log((await request.json())["events"])]
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
