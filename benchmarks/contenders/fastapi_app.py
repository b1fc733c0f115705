"""FastAPI's own SSE: a path operation that yields, with ``raw_data``, so that no JSON is made a second time.

Owns:   the application ``app``.
Never:  has an OpenAPI document or pages about it: they cost nothing here, and nobody asks for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from benchmarks.contenders.emitter import Channels

app = FastAPI(openapi_url=None)

_channels: Channels[str] = Channels(str)


@app.get("/stream", response_class=EventSourceResponse)
async def stream(channel: str) -> AsyncIterator[ServerSentEvent]:
    followed = _channels[channel]
    async for data in followed.items(followed.subscribe()):
        yield ServerSentEvent(raw_data=data)


@app.post("/emit", status_code=202)
async def emit(job: dict[str, Any]) -> Response:
    _channels.emit(job)
    return Response(status_code=202)


@app.get("/readyz")
async def ready() -> Response:
    return Response()
