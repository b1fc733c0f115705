"""A server that knows nothing: it says the bytes it was given, in the pieces it was given, and notes who asked.

Owns:   connections that stay open from one answer to the next, chunked bodies, what was asked and when.
Never:  looks at what it sends.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

STREAM = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-store"))


@dataclass
class Asked:
    """A request.

    Attributes:
        at: loop time when it came.
        headers: names in lower case.
    """

    at: float
    headers: Mapping[str, str]


@dataclass
class Said:
    """What is said at one path: to the first request the pieces, to every other one a 204.

    Attributes:
        pieces: of the body; each is one write.
        status: of the answer; 0 cuts the connection instead, each time: on an old connection browsers try twice.
        headers: of the answer.
        pause_s: between two pieces, so that they arrive as two.
        torn: cut the connection in the middle of the body.
        asked: who asked.
        ended_at: loop time when everything was said.
    """

    pieces: Sequence[bytes] = ()
    status: int = 200
    headers: Sequence[tuple[str, str]] = STREAM
    pause_s: float = 0.0
    torn: bool = False
    asked: list[Asked] = field(default_factory=list)
    ended_at: float = 0.0

    @property
    def came_back_after_s(self) -> float | None:
        """How long after the end the second request came; None if none did."""
        return self.asked[1].at - self.ended_at if len(self.asked) > 1 else None

    @property
    def came_back_with(self) -> bytes | None:
        """The Last-Event-ID of the second request, as bytes; None if it had none."""
        header = self.asked[1].headers.get("last-event-id") if len(self.asked) > 1 else None
        return None if header is None else header.encode("latin-1")


@dataclass
class RawServer:
    """See `raw_server`."""

    url: str = ""
    said: dict[str, Said] = field(default_factory=dict)
    connections: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def say(self, said: Said) -> str:
        """Add an answer; its path."""
        path = f"/{next(self._numbers)}"
        self.said[path] = said
        return path

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections[writer] = asyncio.current_task()
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the browser needs this connection no more
        finally:
            del self.connections[writer]
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection stays open."""
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        loop = asyncio.get_running_loop()
        headers = {
            name.lower(): value.strip(" \t") for name, _, value in (line.partition(":") for line in rest if line)
        }
        said = self.said[first.split(" ")[1]]
        said.asked.append(Asked(loop.time(), headers))
        if len(said.asked) > 1 and said.status:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            return True
        try:
            return await self._say(said, writer)
        finally:
            said.ended_at = loop.time()

    async def _say(self, said: Said, writer: asyncio.StreamWriter) -> bool:
        if not said.status:
            return False
        lines = [f"HTTP/1.1 {said.status} Said", *(f"{name}: {value}" for name, value in said.headers)]
        if not said.pieces:
            writer.write("\r\n".join([*lines, "content-length: 0", "", ""]).encode("latin-1"))
            return True
        writer.write("\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode("latin-1"))
        for piece in filter(None, said.pieces):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(said.pause_s)
        if said.torn:
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    """Run one on a free port."""
    raw = RawServer()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    raw.url = f"http://{host}:{port}"
    try:
        yield raw
    finally:
        server.close()
        open_still = dict(raw.connections)
        for writer in open_still:
            writer.close()
        await asyncio.gather(*filter(None, open_still.values()))
        await server.wait_closed()
