"""Bare uvicorn: an ASGI application without a framework, which makes each frame once and sends it to every reader.

Owns:   the application ``app``: one task for each reader, which takes frames out of its own queue.
Never:  looks whether a reader has left: `send` does nothing then.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.contenders.emitter import Channels, log

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]

_channels: Channels[Message] = Channels(lambda data: _body(f"data: {data}\n\n".encode()))
_log: list[Message] = []


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":  # no lifespan
        return
    if scope["path"] == "/stream":
        await _stream(scope["query_string"].decode().partition("=")[2], send)
    elif scope["path"] == "/log":
        await _replay(send)
    else:
        await _order(scope["path"], receive, send)


async def _stream(name: str, send: Send) -> None:
    queue = _channels[name].subscribe()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    while True:
        await send(await queue.get())


async def _replay(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    for message in _log:
        await send(message)
    await send({"type": "http.response.body", "body": b""})


async def _order(path: str, receive: Receive, send: Send) -> None:
    body = b""
    more = path != "/readyz"
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    if path == "/emit":
        _channels.emit(json.loads(body))
    elif path == "/prepare":
        _log[:] = [_body(event.frame) for event in log(json.loads(body)["events"])]
    await send({"type": "http.response.start", "status": 202 if body else 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def _body(frame: bytes) -> Message:
    return {"type": "http.response.body", "body": frame, "more_body": True}
