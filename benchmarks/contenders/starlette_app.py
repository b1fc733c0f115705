"""Starlette's StreamingResponse over a queue for each reader; the frame is made once for all of them.

Owns:   the application ``app``.
Never:  sends a keepalive: a plain streaming response has none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from benchmarks.contenders.emitter import Channels, log
from benchmarks.contenders.starlette_site import site

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


def _prepare(events: int) -> None:
    _log[:] = [event.frame for event in log(events)]


app = site(_channels, _stream, _replay, _prepare)
