"""What the applications on Starlette have in common.

Owns:   their routes: one to follow a channel and one to replay the log, which are their own, and those that tell them
        what to emit and how long the log is to be.
Never:  knows how an event is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.contenders.emitter import Channels

Handler = Callable[[Request], Awaitable[Response]]


def site(channels: Channels[Any], follow: Handler, replay: Handler, prepare: Callable[[int], None]) -> Starlette:
    """An application.

    Args:
        channels: what is emitted to.
        follow: answers with the events of a channel.
        replay: answers with the log.
        prepare: makes a log of so many events.
    """

    async def emit(request: Request) -> Response:
        channels.emit(await request.json())
        return Response(status_code=202)

    async def make_log(request: Request) -> Response:
        prepare((await request.json())["events"])
        return Response(status_code=202)

    async def ready(request: Request) -> Response:
        return Response()

    return Starlette(
        routes=[
            Route("/stream", follow),
            Route("/log", replay),
            Route("/emit", emit, methods=["POST"]),
            Route("/prepare", make_log, methods=["POST"]),
            Route("/readyz", ready),
        ]
    )
