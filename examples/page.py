"""Serve watch.html from the origin of the server: uvicorn examples.page:app, then open /watch.html

A page may read only what comes from its own origin. One application that has both is enough; a proxy does it as well.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from streaming.server import app as server

PAGE = Path(__file__).with_name("watch.html").read_bytes()
HEADERS = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(PAGE)).encode())]


async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application: one page, and everything else is the server's."""
    if scope["type"] != "http" or scope["path"] != "/watch.html":
        await server(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else PAGE})
