"""A reader below all libraries: it remembers exactly the bytes it got, and how they ended.

Owns:   one connection with one streamed answer; taking its bytes apart into events.
Never:  reconnects, or forgives a byte that does not belong there.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import struct
from collections.abc import Callable
from typing import Any

SOON_S = 20.0

#: What closing a socket does then: the peer gets an error, as from a client that has crashed.
RESET = struct.pack("ii", 1, 0)

#: One event on the wire. There is nothing between two of them but keepalives.
_BLOCK = re.compile(rb"id: (\d+)\nevent: ([\w.-]+)\ndata: ([^\n]*)\n\n")
_NOISE = re.compile(rb"retry: \d+\n|: keepalive\n")


class Stream:
    """An answer that is being read.

    Attributes:
        status: of the answer.
        body: what was read so far, without the frames of the chunked coding.
        ended: the server has finished the answer, as opposed to cut the connection.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        status: int,
        length: int | None,
        pause_s: float = 0,
    ) -> None:
        self.status = status
        self.body = bytearray()
        self.ended = False
        self.changed = asyncio.Event()
        self._blocks: dict[int, bytes] = {}
        self._events: list[dict[str, Any]] = []
        self._position = 0  # in the body: everything before it is in the blocks
        self._writer = writer
        self._pause_s = pause_s
        self._reading = asyncio.create_task(self._read(reader, length))

    async def _read(self, reader: asyncio.StreamReader, length: int | None) -> None:
        try:
            if length is not None:
                self.body += await reader.readexactly(length)
            else:
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    self.body += (await reader.readexactly(size + 2))[:-2]
                    self._change()
                    if self._pause_s:
                        await asyncio.sleep(self._pause_s)
                await reader.readexactly(2)
            self.ended = True
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the server is gone; `ended` says so
        finally:
            self._change()
            self._writer.close()

    def _change(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read on until something holds; an end before that fails."""
        async with asyncio.timeout(SOON_S):
            while not condition():
                assert not self._reading.done(), f"it has ended after {bytes(self.body[-500:])!r}"
                await self.changed.wait()

    async def read(self) -> None:
        """Read to the end, whatever it is."""
        async with asyncio.timeout(SOON_S):
            await self._reading

    def leave(self, *, reset: bool = False) -> None:
        """Close the connection, as a client does that has seen enough; or let it break off, as one that has crashed."""
        if reset and not self._writer.is_closing():
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._reading.cancel()
        self._writer.close()  # it may have been cancelled before its first step

    @property
    def socket(self) -> socket.socket:
        """What carries it, to be maltreated."""
        carrier: socket.socket = self._writer.get_extra_info("socket")
        return carrier

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._reading.done()

    # -- what it holds --------------------------------------------------------------------------------------------

    @property
    def blocks(self) -> dict[int, bytes]:
        """The bytes of every whole event, by seq; anything else between them fails."""
        while self._position < len(self.body):
            if noise := _NOISE.match(self.body, self._position):
                self._position = noise.end()
                continue
            block = _BLOCK.match(self.body, self._position)
            if block is None:
                break
            seq, last = int(block[1]), next(reversed(self._blocks), None)
            assert last is None or seq == last + 1, f"{seq} follows {last}"
            self._blocks[seq] = block[0]
            self._position = block.end()
        left = bytes(self.body[self._position :])
        assert not (self.ended and left), f"no event: {left!r}"
        return self._blocks

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every whole event, as JSON."""
        new = itertools.islice(self.blocks.values(), len(self._events), None)
        self._events += [json.loads(block.split(b"\n")[2].removeprefix(b"data: ")) for block in new]
        return self._events

    @property
    def types(self) -> list[str]:
        """The types of the events."""
        return [event["type"] for event in self.events]


async def open_stream(port: int, path: str, after: int = 0, pause_s: float = 0) -> Stream:
    """Ask for a stream, and read it in the background.

    Args:
        port: of the server, or of what lies in front of it.
        path: of the stream.
        after: the cursor.
        pause_s: after each piece; such a reader has the smallest of buffers, too.

    Raises:
        ConnectionError: there is no answer.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096 if pause_s else 2**20)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {after}\r\n\r\n".encode())
    try:
        async with asyncio.timeout(SOON_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    except asyncio.IncompleteReadError:
        writer.close()
        raise ConnectionError("the server has closed the connection without an answer") from None
    except BaseException:
        writer.close()
        raise
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    length = None if "transfer-encoding" in headers else int(headers.get("content-length", 0))
    return Stream(reader, writer, int(head[0].split()[1]), length, pause_s)
