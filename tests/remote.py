"""A web server far away that falls silent wherever a test wants it to.

Owns:   `remote`.
Never:  waits without a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

BODY = b"x" * 1000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n"

#: What is sent before the silence.
SILENT_AFTER = {"the request": b"", "the head": HEAD, "half of the body": HEAD + BODY[:500], "all": HEAD + BODY}

#: Seconds in which anything happens, or never will.
SOON_S = 10.0


@dataclass
class Remote:
    """The server.

    Attributes:
        url: what to fetch.
        silent: it has sent what it sends.
        closed: the other side has closed the connection.
    """

    url: str = ""
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def remote(silent_after: str) -> AsyncIterator[Remote]:
    """Run a server that answers one request so far and no further."""
    here = Remote()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SILENT_AFTER[silent_after])
        await writer.drain()
        here.silent.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()  # until the other side closes
        here.closed.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    here.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/file"
    try:
        yield here
    finally:
        server.close()


async def soon(event: asyncio.Event) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(SOON_S):
        await event.wait()
